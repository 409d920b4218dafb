/**
 * gRPC metadata as it travels through Kafka and Redis: names in lower case, values as bytes. A name that ends in
 * `-bin` holds any bytes (decoded from base64), any other holds printable ASCII. A name may stand several times.
 */
export type MetadataPairs = readonly (readonly [name: string, value: Buffer])[]

export const NO_METADATA: MetadataPairs = []
