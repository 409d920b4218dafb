/**
 * kafkajs is imported in this folder only, so that another client can take its place (docs/adr/0002).
 */
import { createRequire } from 'node:module'
import { Kafka, logLevel } from 'kafkajs'
import type { LogEntry } from 'kafkajs'
import type { KafkaConfig } from '../config.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { signIn, socketFactory } from './connection.ts'
import { stopIdleTimer } from './idle-timer.ts'
import { fetchInOnePass } from './kafkajs-fetch.ts'
import { endSilentConnections } from './silence.ts'

const CONNECTION_TIMEOUT_MILLISECONDS = 3000
const REQUEST_TIMEOUT_MILLISECONDS = 10_000
/** kafkajs' own take ten seconds, in which nobody is told why there is no connection; everybody who connects tries again. */
const CONNECT_RETRIES = { retries: 3, initialRetryTime: 100, maxRetryTime: 500 }

export interface KafkaOptions extends KafkaConfig {
  readonly clientId: string
  readonly logger: Logger
  /** Left out where nobody scrapes. */
  readonly metrics?: Metrics
}

/** @throws TlsError when the files that `tls` names cannot be used. */
export function createKafka({ brokers, tls, sasl, clientId, logger, metrics }: KafkaOptions): Kafka {
  stopIdleTimer()
  decodeHeadersOnce()
  fetchInOnePass()
  endSilentConnections()
  return new Kafka({
    brokers: [...brokers],
    clientId,
    connectionTimeout: CONNECTION_TIMEOUT_MILLISECONDS,
    requestTimeout: REQUEST_TIMEOUT_MILLISECONDS,
    retry: CONNECT_RETRIES,
    socketFactory: socketFactory(tls, logger, metrics?.counter('grpc_kafka_broker_connections_total')),
    ...(sasl !== undefined && { sasl: signIn(sasl) }),
    logLevel: logLevel.WARN,
    // kafkajs logs at ERROR what it then retries and survives (a coordinator that loads): it is no error of ours.
    logCreator:
      () =>
      ({ namespace, level, log }: LogEntry) => {
        const { message, error } = log as { message: unknown; error?: string }
        const fields = { kafka: namespace, ...(error === undefined ? {} : { reason: error }) }
        if (level <= logLevel.ERROR) logger.warn(fields, String(message).trimEnd())
        else logger.debug(fields, String(message).trimEnd())
      },
  })
}

const require = createRequire(import.meta.url)

type Headers = Record<string, Buffer | null | (Buffer | null)[]>

interface Decoder {
  readonly prototype: {
    readonly offset: number
    canReadBytes(length: number): boolean
    readVarInt(): number
    readVarIntArray(read: (from: unknown) => { readonly key: string; readonly value: Buffer | null }): {
      reduce(): Headers
    }
  }
}

const FEWER_HEADERS = { key: '', value: null }
let headersDecodedOnce = false

/**
 * kafkajs 2.2.4 copies the headers of a record anew for each one of them, so that one record of ten thousand headers stops
 * the process for many seconds, its heartbeats too; and it takes a header named `constructor` or `__proto__` for one that
 * was there before; and it reads on behind the end of a record that says it has more headers than it has, thousands of
 * millions where it says so. The only caller folds the list that this method returns into an object: here it is one already.
 */
function decodeHeadersOnce(): void {
  if (headersDecodedOnce) return
  headersDecodedOnce = true
  const decoder = require('kafkajs/src/protocol/decoder') as Decoder
  decoder.prototype.readVarIntArray = function (read) {
    const headers = Object.create(null) as Headers
    for (let count = this.readVarInt(); count > 0; count--) {
      const start = this.offset
      const { key, value } = this.canReadBytes(1) ? read(this) : FEWER_HEADERS
      if (this.offset <= start) throw new Error('a record has not the headers that it says it has')
      const before = headers[key]
      if (before === undefined) headers[key] = value
      else if (Array.isArray(before)) before.push(value)
      else headers[key] = [before, value]
    }
    return { reduce: () => headers }
  }
}
