/**
 * A handler of a known capacity: it serves PLACES calls at a time, each for as many milliseconds as its message says, and
 * the others wait. A call without a message is answered at once. Each second it says how many it has served and how long
 * they really took together.
 */
import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { SERVICE } from './service.ts'

const places = Number(process.env['PLACES'])
const waiting: (() => void)[] = []
let taken = 0
let served = 0
let busyMilliseconds = 0

function begin(milliseconds: number, done: sendUnaryData<Buffer>): void {
  const began = performance.now()
  taken += 1
  setTimeout(() => {
    taken -= 1
    served += 1
    busyMilliseconds += performance.now() - began
    done(null, Buffer.from('done'))
    waiting.shift()?.()
  }, milliseconds)
}

const server = new Server()
server.addService(SERVICE, {
  Do: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
    const milliseconds = Number(call.request.toString())
    if (milliseconds === 0) done(null, Buffer.from('done'))
    else if (taken < places) begin(milliseconds, done)
    else waiting.push(() => begin(milliseconds, done))
  },
})
new HealthImplementation({ '': 'SERVING' }).addToServer(server)
server.bindAsync(`127.0.0.1:${process.env['PORT'] ?? '0'}`, ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error
  process.stdout.write(`listening ${port}\n`)
  setInterval(() => process.stdout.write(`${JSON.stringify({ served, busyMilliseconds })}\n`), 1000)
})
