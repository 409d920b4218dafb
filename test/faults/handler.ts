/**
 * A handler whose every run is told apart: its reply names the run, so that two runs of one call give two replies. The ledger
 * has a line when a run begins, before it does anything, and one before it ends.
 *
 * The request is JSON: see `Request`. MODE_FILE says what is wrong with the handler now.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { SERVICE } from '../integration/support/service.ts'
import { HANDLER_SAYS } from './answer-kind.ts'
import { Ledger } from './ledger.ts'

export interface Request {
  readonly call: string
  readonly sleepMilliseconds: number
  /** A gRPC status instead of an answer... */
  readonly status?: number
  /** ...in the first so many attempts; in all of them when not given. */
  readonly failures?: number
}

/** What is wrong with all handlers. */
export interface Mode {
  readonly sleepMilliseconds: number
  /** So many of a hundred runs fail as UNAVAILABLE. */
  readonly failPercent: number
}

export type HandlerLine =
  | {
      readonly event: 'began'
      readonly run: string
      readonly at: number
      readonly call: string
      readonly callId: string
      readonly attempt: number
    }
  | {
      readonly event: 'ended'
      readonly run: string
      readonly at: number
      readonly code: number
      readonly reply: string
    }

const ledger = new Ledger(process.env['LEDGER_FILE'] ?? '')
const modeFile = process.env['MODE_FILE'] ?? ''
const born = Date.now().toString(36)
let runs = 0

const write = (line: HandlerLine): Promise<void> => ledger.write(line)

async function handle(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>): Promise<void> {
  const request = JSON.parse(call.request.toString()) as Request
  const mode = JSON.parse(readFileSync(modeFile, 'utf8')) as Mode
  const text = (name: string): string => String(call.metadata.get(name)[0])
  const run = `${process.pid}-${born}-${runs++}`
  const attempt = Number(text('grpc-kafka-attempt'))
  const callId = text('grpc-kafka-call-id').replaceAll('-', '')
  await write({ event: 'began', run, at: Date.now(), call: request.call, callId, attempt })
  await pause(request.sleepMilliseconds + mode.sleepMilliseconds)
  const fails = Math.random() * 100 < mode.failPercent
  const own = attempt <= (request.failures ?? Infinity) ? (request.status ?? GrpcStatus.OK) : GrpcStatus.OK
  const code = fails ? GrpcStatus.UNAVAILABLE : own
  const reply = `${request.call} by ${run}`
  await write({ event: 'ended', run, at: Date.now(), code, reply })
  if (code === GrpcStatus.OK) done(null, Buffer.from(reply))
  else done({ code, details: `${HANDLER_SAYS}${reply}` })
}

const server = new Server()
const unary = (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>): void => void handle(call, done)
server.addService(SERVICE, { Do: unary, Also: unary })
new HealthImplementation({ '': 'SERVING' }).addToServer(server)
server.bindAsync(`127.0.0.1:${process.env['PORT'] ?? '0'}`, ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error
  process.stdout.write(`listening ${port}\n`)
})
