import type { SidecarConfigInput } from '../sidecar/config.ts'
import type { CallbackPlacement } from './callbacks-config.ts'

/**
 * What the environment decides about one sidecar, not its resource: in a cluster the operator, on one machine local
 * mode.
 */
export interface Placement {
  /** Unique among the replicas of the service; 1 to 128 of the characters a-z, A-Z, 0-9, ".", "_" and "-"; or the variable that has it. */
  readonly instance: SidecarConfigInput['instance']
  /** Given, they are used and not the resource's Kafka: brokers that ask for nothing, each `host:port`. */
  readonly kafkaBrokers?: readonly string[]
  /** Given, it is used and not the resource's Redis: a URL without a password, or where to read one that has it. */
  readonly redisUrl?: SidecarConfigInput['redis']['url']
  /** Below it each key of a Secret that a resource refers to is a file, `<Secret>/<key>`. */
  readonly secretsDirectory?: string
  /** Given, receivers of callbacks have these keys and not those of the resource's Secrets; `None`: nobody is told. */
  readonly callbacks?: CallbackPlacement | 'None'
  /** Where /healthz, /readyz and /metrics are served. `host` defaults to every address. */
  readonly admin: { readonly host?: string; readonly port: number }
  readonly logLevel?: 'debug' | 'info' | 'warn' | 'error'
}
