import { Client, credentials } from '@grpc/grpc-js'
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js'

/** What the test handler does with a request; see handler.ts. */
export interface Instruction {
  /** The test's own name for the call. */
  readonly id?: string
  readonly sleep?: number
  readonly status?: number
  readonly details?: string
  /** Fail only so many times, then answer. */
  readonly failures?: number
  readonly reply?: string
  readonly replyBytes?: number
  /** The reply is the request. */
  readonly echo?: boolean
  readonly initial?: MetadataInstruction
  readonly trailing?: MetadataInstruction
  /** The handler's process kills itself. */
  readonly crash?: boolean
}

/** Values by name; those of `-bin` names are hexadecimal. */
export type MetadataInstruction = Readonly<Record<string, string | readonly string[]>>

export const SERVICE_NAME = 'test.Work'
export const METHOD = '/test.Work/Do'
/** Handlers know it as well; a route's configuration names it where a test wants it. */
export const OTHER_METHOD = '/test.Work/Also'
const identity = (bytes: Buffer): Buffer => bytes

const unary = (path: string): MethodDefinition<Buffer, Buffer> => ({
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
})

export const SERVICE = { Do: unary(METHOD), Also: unary(OTHER_METHOD) } as const satisfies ServiceDefinition

export const rawClient = (port: number): Client =>
  new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.use_local_subchannel_pool': 1,
  })
