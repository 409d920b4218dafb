import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import kafkajs from 'kafkajs'
import type { Kafka, SASLOptions } from 'kafkajs'
import { stopIdleTimer } from '../../sidecar/kafka/idle-timer.ts'
import type { KafkaAccess } from './kafka-access.ts'
import { KafkaProblem } from './kafka-problem.ts'

const CONNECTION_TIMEOUT_MILLISECONDS = 3000
const REQUEST_TIMEOUT_MILLISECONDS = 15_000

/** After the first: each is another server, and who asks asks again. */
const MOST_RETRIES = 2

/**
 * kafkajs as the operator uses it: up to three servers are tried at a time, those after them the next time. Which is the
 * first is random: a client that is made anew each time comes to all of them, too. Nothing is connected yet.
 */
export function kafkaClient(
  { servers, tls, sasl }: KafkaAccess,
  requestTimeoutMilliseconds = REQUEST_TIMEOUT_MILLISECONDS,
  random: () => number = Math.random,
): Kafka {
  stopIdleTimer()
  const first = Math.floor(random() * servers.length)
  return new kafkajs.Kafka({
    clientId: 'grpc-kafka-operator',
    brokers: [...servers.slice(first), ...servers.slice(0, first)],
    connectionTimeout: CONNECTION_TIMEOUT_MILLISECONDS,
    requestTimeout: requestTimeoutMilliseconds,
    retry: { retries: Math.min(servers.length, MOST_RETRIES), initialRetryTime: 50, maxRetryTime: 200 },
    logLevel: kafkajs.logLevel.NOTHING,
    ...(tls === undefined ? {} : { ssl: tlsOptions(tls) }),
    ...(sasl === undefined ? {} : { sasl: signIn(sasl) }),
  })
}

/** kafkajs would say that no broker answers. @throws KafkaProblem */
export function assertUsable(tls: KafkaAccess['tls']): void {
  if (tls === undefined) return
  try {
    // Node passes over authorities that are none.
    if (tls.ca !== undefined) void new X509Certificate(tls.ca)
    createSecureContext(tlsOptions(tls))
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    const message = `spec.kafka.tls: the certificates cannot be used (${code})`
    throw new KafkaProblem('KafkaNotAuthorized', message, { cause, noAnswer: 'NotAsked' })
  }
}

const tlsOptions = ({ ca, cert, key, serverName }: NonNullable<KafkaAccess['tls']>) => ({
  // Verified whatever the environment says.
  rejectUnauthorized: true,
  ...(ca === undefined ? {} : { ca }),
  ...(cert === undefined ? {} : { cert }),
  ...(key === undefined ? {} : { key }),
  ...(serverName === undefined ? {} : { servername: serverName }),
})

const MECHANISMS = { PLAIN: 'plain', 'SCRAM-SHA-256': 'scram-sha-256', 'SCRAM-SHA-512': 'scram-sha-512' } as const

const signIn = ({ mechanism, username, password }: NonNullable<KafkaAccess['sasl']>): SASLOptions => ({
  mechanism: MECHANISMS[mechanism],
  username,
  password,
})
