/** One name in everything that this program writes at the API server. */
export const FIELD_MANAGER = 'grpc-kafka-operator'
