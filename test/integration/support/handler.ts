/**
 * A handler that does what the request says: a plain grpc-js server with raw bytes. Its ledger has a line when a call
 * begins and one when it ends, so that a test sees how often a call ran, also when the process was killed in between.
 *
 * The request is JSON: { id, sleep?, status?, details?, reply?, replyBytes?, echo?, failures?, trailing?, initial?, crash? }
 * (service.ts); what stands behind a zero byte is ballast
 */
import { appendFileSync } from 'node:fs'
import { Metadata, Server, ServerCredentials } from '@grpc/grpc-js'
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { setTimeout as pause } from 'node:timers/promises'
import { SERVICE } from './service.ts'
import type { Instruction, MetadataInstruction } from './service.ts'

const ledger = process.env['LEDGER_FILE'] ?? ''
const write = (entry: object) =>
  appendFileSync(ledger, `${JSON.stringify({ pid: process.pid, at: Date.now(), ...entry })}\n`)
const attempts = new Map<string, number>()

async function run(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>): Promise<void> {
  const head = call.request.subarray(0, call.request.indexOf(0) === -1 ? call.request.length : call.request.indexOf(0))
  const instruction = JSON.parse(head.toString() || '{}') as Instruction
  const text = (name: string) =>
    call.metadata.get(name).map((value) => (Buffer.isBuffer(value) ? value.toString('hex') : value))
  write({
    event: 'began',
    id: instruction.id,
    callId: text('grpc-kafka-call-id')[0],
    attempt: Number(text('grpc-kafka-attempt')[0]),
    metadata: Object.fromEntries(Object.keys(call.metadata.getMap()).map((name) => [name, text(name)])),
    remaining:
      call.getDeadline() instanceof Date
        ? (call.getDeadline() as Date).getTime() - Date.now()
        : Number(call.getDeadline()) - Date.now(),
    bytes: call.request.length,
  })
  if (instruction.crash === true) process.kill(process.pid, 'SIGKILL')
  if (instruction.sleep !== undefined) await pause(instruction.sleep)
  const key = instruction.id ?? ''
  const attempt = (attempts.get(key) ?? 0) + 1
  attempts.set(key, attempt)
  if (instruction.initial !== undefined) call.sendMetadata(toMetadata(instruction.initial))
  const trailing = toMetadata(instruction.trailing ?? {})
  write({ event: 'ended', id: instruction.id, callId: text('grpc-kafka-call-id')[0] })
  if (instruction.status !== undefined && attempt <= (instruction.failures ?? Infinity)) {
    done({ code: instruction.status, details: instruction.details ?? '', metadata: trailing })
    return
  }
  done(null, replyTo(instruction, call.request), trailing)
}

function replyTo({ echo, replyBytes, reply }: Instruction, request: Buffer): Buffer {
  if (echo === true) return request
  return replyBytes === undefined ? Buffer.from(reply ?? 'done') : Buffer.alloc(replyBytes, 'x')
}

function toMetadata(values: MetadataInstruction): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(values)) {
    for (const one of [value].flat()) metadata.add(name, name.endsWith('-bin') ? Buffer.from(one, 'hex') : one)
  }
  return metadata
}

const server = new Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 })
const handle = (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => void run(call, done)
server.addService(SERVICE, { Do: handle, Also: handle })
const health = new HealthImplementation({ '': 'SERVING' })
if (process.env['WITHOUT_HEALTH'] === undefined) health.addToServer(server)
process.on('SIGUSR1', () => health.setStatus('', 'NOT_SERVING'))
process.on('SIGUSR2', () => health.setStatus('', 'SERVING'))
server.bindAsync(`127.0.0.1:${process.env['PORT'] ?? '0'}`, ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error
  process.stdout.write(`listening ${port}\n`)
})
