import type { ProxyMethodConfig } from '../config.ts'

/** A declared method, with what every call of it would otherwise compute again. */
export interface ServedMethod {
  /** `package.Service/Method` */
  readonly name: string
  readonly timeoutMilliseconds: number
  /** Names of request metadata that travel to the handler. */
  readonly metadata: readonly string[]
  /** How long a good answer may be given again; 0: never. */
  readonly cacheSeconds: number
  /** The metadata whose value is the record's key; undefined: calls have no order. */
  readonly partitionKey: string | undefined
}

export const servedMethod = (service: string, method: ProxyMethodConfig): ServedMethod => ({
  name: `${service}/${method.name}`,
  timeoutMilliseconds: method.timeoutMilliseconds,
  metadata: method.metadata,
  cacheSeconds: method.cacheSeconds,
  partitionKey: method.partitionKey?.metadata,
})
