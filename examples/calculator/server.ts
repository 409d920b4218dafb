/**
 * A plain gRPC server: it knows nothing of Kafka, of Redis or of this project.
 *
 *   PORT         where it listens (default 50051)
 *   POD_IP       the address that it names itself by (default 127.0.0.1)
 *   LEDGER_FILE  if set, each execution adds one line to this file
 */
import { appendFileSync } from 'node:fs'
import {
  Server,
  ServerCredentials,
  status,
  type handleUnaryCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { CalculateService, type CalculateReply, type CalculateRequest } from './calculator.ts'

const port = Number(process.env['PORT'] ?? 50051)
const address = `${process.env['POD_IP'] ?? '127.0.0.1'}:${port}`
const ledger = process.env['LEDGER_FILE']

const OPERATIONS: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  subtract: (a, b) => a - b,
  multiply: (a, b) => a * b,
  divide: (a, b) => a / b,
}
const SYMBOLS: Readonly<Record<string, string>> = { '+': 'add', '-': 'subtract', '*': 'multiply', '/': 'divide' }

const calculate: handleUnaryCall<CalculateRequest, CalculateReply> = (call, answer) => {
  const { name, method, num1, num2 } = call.request
  if (ledger)
    appendFileSync(ledger, `${JSON.stringify({ time: new Date().toISOString(), address, ...call.request })}\n`)
  const operation = SYMBOLS[method] ?? method
  const operate = Object.hasOwn(OPERATIONS, operation) ? OPERATIONS[operation] : undefined
  if (!operate) {
    answer({
      code: status.INVALID_ARGUMENT,
      details: `method must be one of ${Object.keys(OPERATIONS).join(', ')}, not "${method}" (${address})`,
    })
    return
  }
  if (operation === 'divide' && num2 === 0) {
    answer(null, { message: `${name}: ${num1} cannot be divided by zero (${address})`, successFlag: false, result: 0 })
    return
  }
  const result = operate(num1, num2)
  answer(null, {
    message: `${name}: ${num1} ${operation} ${num2} is ${result} (${address})`,
    successFlag: true,
    result,
  })
}

const server = new Server()
const implementation: UntypedServiceImplementation = { calculate }
server.addService(CalculateService.service, implementation)
new HealthImplementation({ '': 'SERVING', 'calculator.CalculateService': 'SERVING' }).addToServer(server)

server.bindAsync(`0.0.0.0:${port}`, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error
  console.log(`calculator: listening on ${address}`)
})

process.once('SIGTERM', () => {
  server.tryShutdown(() => process.exit(0))
})
