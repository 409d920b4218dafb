/** The calculator's service as grpc-js wants it, loaded from calculator.proto, and its messages as TypeScript sees them. */
import { join } from 'node:path'
import { loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

export type CalculateRequest = {
  readonly name: string
  readonly method: string
  readonly num1: number
  readonly num2: number
}

export type CalculateReply = {
  readonly message: string
  readonly successFlag: boolean
  readonly result: number
}

const loaded = loadPackageDefinition(loadSync(join(import.meta.dirname, 'calculator.proto'), { defaults: true }))

/** A client class with the service's definition as its `service`. */
export const CalculateService = (loaded['calculator'] as unknown as { CalculateService: ServiceClientConstructor })
  .CalculateService
