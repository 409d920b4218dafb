import { GrpcStatus } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Gauge } from '../telemetry/metrics.ts'
import type { HandlerClient } from './handler-client.ts'

const INTERVAL_MILLISECONDS = 1000
/** While the handler is away its return is what everybody waits for. */
const AWAY_INTERVAL_MILLISECONDS = 100
const TIMEOUT_MILLISECONDS = 1000
const SERVING = 1

/**
 * Whether the handler can take calls, by grpc.health.v1. A handler without that service is healthy when it answers at all.
 * Calls are started only while it is, so a handler that is down burns no attempts.
 */
export class HandlerHealth {
  readonly #client: HandlerClient
  readonly #logger: Logger
  readonly #gauge: Gauge
  readonly #onChange: (healthy: boolean) => void
  #healthy = false
  #closed = false
  #timer: NodeJS.Timeout | undefined
  #check = 0

  constructor(client: HandlerClient, logger: Logger, gauge: Gauge, onChange: (healthy: boolean) => void) {
    this.#client = client
    this.#logger = logger
    this.#gauge = gauge
    this.#onChange = onChange
  }

  get healthy(): boolean {
    return this.#healthy
  }

  start(): void {
    this.#ask()
  }

  /** A call saw the connection fail: do not wait for the next check to believe it. */
  suspect(reason: string): void {
    if (!this.#healthy) return
    this.#become(false, reason)
    this.#ask()
  }

  /** Asks at once, as after the handler moved. */
  checkNow(): void {
    this.#ask()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #ask(): void {
    clearTimeout(this.#timer)
    if (this.#closed) return
    const check = ++this.#check
    this.#client.call(
      {
        path: '/grpc.health.v1.Health/Check',
        message: Buffer.alloc(0),
        metadata: [],
        extra: {},
        timeoutMilliseconds: TIMEOUT_MILLISECONDS,
      },
      (result) => {
        // An answer to an older question says nothing about now.
        if (this.#closed || check !== this.#check) return
        if (result.kind !== 'Answered') this.#become(false, result.kind)
        else if (result.answer.status === GrpcStatus.UNIMPLEMENTED) this.#become(true, 'no health service')
        else if (result.answer.status !== GrpcStatus.OK)
          this.#become(false, `health check answered status ${result.answer.status}`)
        else this.#become(servingStatus(result.answer.message) === SERVING, 'health check')
        this.#timer = setTimeout(() => this.#ask(), this.#healthy ? INTERVAL_MILLISECONDS : AWAY_INTERVAL_MILLISECONDS)
      },
    )
  }

  #become(healthy: boolean, reason: string): void {
    this.#gauge.set(healthy ? 1 : 0)
    if (healthy === this.#healthy) return
    this.#healthy = healthy
    this.#logger.info({ healthy, reason }, healthy ? 'the handler is healthy' : 'the handler is away')
    this.#onChange(healthy)
  }
}

/** HealthCheckResponse has one field, `status = 1`, a varint below 128. */
function servingStatus(message: Buffer | null): number {
  return message !== null && message.length >= 2 && message[0] === 0x08 ? (message[1] ?? 0) : 0
}
