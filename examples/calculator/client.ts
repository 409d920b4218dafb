/**
 * A plain gRPC client: it knows nothing of Kafka, of Redis or of this project.
 *
 *   node client.ts ADDRESS [METHOD NUM1 NUM2]
 */
import { credentials, type Client, type ServiceError } from '@grpc/grpc-js'
import { CalculateService, type CalculateReply, type CalculateRequest } from './calculator.ts'

export type Calculator = {
  /**
   * @param timeoutMilliseconds  the call's deadline, from now
   * @returns the reply; rejects with grpc-js's `ServiceError` for any status but OK
   */
  calculate(request: CalculateRequest, timeoutMilliseconds: number): Promise<CalculateReply>
  close(): void
}

type Stub = Client & {
  calculate(
    request: CalculateRequest,
    options: { readonly deadline: Date },
    done: (error: ServiceError | null, reply: CalculateReply | undefined) => void,
  ): void
}

/** @param address  `host:port` of a server of the calculator, or of whatever stands in front of one */
export function connect(address: string): Calculator {
  const stub = new CalculateService(address, credentials.createInsecure()) as unknown as Stub
  return {
    calculate: (request, timeoutMilliseconds) =>
      new Promise((resolve, reject) => {
        stub.calculate(request, { deadline: new Date(Date.now() + timeoutMilliseconds) }, (error, reply) => {
          if (reply) resolve(reply)
          else reject(error ?? new Error('neither a reply nor an error'))
        })
      }),
    close: () => stub.close(),
  }
}

if (import.meta.main) {
  const [address = '127.0.0.1:50051', method = 'add', num1 = '40', num2 = '2'] = process.argv.slice(2)
  const calculator = connect(address)
  try {
    const request = { name: 'client', method, num1: Number(num1), num2: Number(num2) }
    console.log(await calculator.calculate(request, 3000))
  } catch (error) {
    console.error((error as Error).message)
    process.exitCode = 1
  } finally {
    calculator.close()
  }
}
