/** Where the keys of Secrets are in a sidecar's container, unless its placement says otherwise. */
export const SECRETS_DIRECTORY = '/run/secrets/grpc-kafka'

export interface SecretKey {
  readonly name: string
  readonly key: string
}

/** The file in which a sidecar finds a key of a Secret. */
export const secretFile = ({ name, key }: SecretKey, directory = SECRETS_DIRECTORY): string =>
  `${directory}/${name}/${key}`
