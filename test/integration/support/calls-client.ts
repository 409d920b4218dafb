/** A client of grpckafka.v1.Calls, made from its proto as anybody's would be. */
import { credentials, makeGenericClientConstructor } from '@grpc/grpc-js'
import type { Client, Metadata, ServiceDefinition, ServiceError } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

export interface FoundCall {
  readonly id: string
  readonly metadata: {
    readonly state: string
    readonly method: string
    readonly partition?: number
    readonly offset?: number
    readonly attempts: number
    readonly trailingMetadata: readonly { readonly name: string; readonly value: Buffer }[]
  }
  readonly done: boolean
  readonly result?: 'error' | 'response'
  readonly error?: { readonly code: number; readonly message: string }
  readonly response?: Buffer
}

type Method = 'Get' | 'Wait' | 'Cancel'
type Ask = (
  request: object,
  options: { readonly deadline: number },
  done: (error: ServiceError | null, call?: FoundCall) => void,
) => { cancel(): void }

const PROTO = new URL('../../../sidecar/proxy/calls.proto', import.meta.url).pathname
const CallsService = makeGenericClientConstructor(
  loadSync(PROTO, { longs: Number, enums: String, defaults: true, oneofs: true })[
    'grpckafka.v1.Calls'
  ] as ServiceDefinition,
  'Calls',
)

export class CallsClient {
  readonly #client: Client & Readonly<Record<Method, Ask>>

  constructor(port: number) {
    this.#client = new CallsService(`127.0.0.1:${port}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    }) as unknown as Client & Readonly<Record<Method, Ask>>
  }

  /** @throws ServiceError */
  ask(method: Method, request: object, milliseconds = 20_000): Promise<FoundCall> {
    return new Promise((resolve, reject) => {
      this.#client[method](request, { deadline: Date.now() + milliseconds }, (error, call) => {
        if (call === undefined) reject(error ?? new Error('no answer'))
        else resolve(call)
      })
    })
  }

  close(): void {
    this.#client.close()
  }
}

/** The status, as a number, with which something is refused; 0 where it is not. */
export const statusOf = (asked: Promise<unknown>): Promise<number> =>
  asked.then(
    () => 0,
    (error: unknown) => (error as ServiceError).code,
  )

export const callIdIn = (metadata: Metadata): string => String(metadata.get('grpc-kafka-call-id')[0])
