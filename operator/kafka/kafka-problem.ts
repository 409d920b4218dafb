import type { ConditionReason } from '../conditions.ts'
import { MalformedMessage } from './wire.ts'

export type KafkaReason = Extract<
  ConditionReason<'CalculateService', 'TopicReady'>,
  'KafkaUnavailable' | 'KafkaNotAuthorized' | 'NotSupported' | 'TopicRefused'
>

/**
 * `Unreachable`: no connection was made, whoever asks. `Silent`: there was one, or something that may depend on how it is made.
 * `NotAsked`: nothing was tried.
 */
export type NoAnswer = 'Unreachable' | 'Silent' | 'NotAsked'

/** Kafka does not do what it is asked. `code` is `KAFKA_PROBLEM`; `reason` is that of the condition. */
export class KafkaProblem extends Error {
  readonly code = 'KAFKA_PROBLEM'
  readonly reason: KafkaReason
  /** Kafka's own number where it answered. */
  readonly errorCode: number | undefined
  /** Undefined where a broker answered: then it is the trouble of what was asked for, and not of all who ask there. */
  readonly noAnswer: NoAnswer | undefined
  constructor(
    reason: KafkaReason,
    message: string,
    options?: ErrorOptions & { readonly errorCode?: number; readonly noAnswer?: NoAnswer },
  ) {
    super(message, options)
    this.name = 'KafkaProblem'
    this.reason = reason
    this.errorCode = options?.errorCode
    this.noAnswer = options?.noAnswer
  }
}

/** Whether it is not known that what was asked for was left undone: the answer was lost, or Kafka gave up waiting. */
export const isAmbiguous = ({ reason, errorCode }: KafkaProblem): boolean =>
  reason === 'KafkaUnavailable' && (errorCode === undefined || errorCode === KAFKA_ERRORS.REQUEST_TIMED_OUT)

/** Kafka's numbers that mean something here (kafka.apache.org/protocol, error codes). */
export const KAFKA_ERRORS = {
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  LEADER_NOT_AVAILABLE: 5,
  REQUEST_TIMED_OUT: 7,
  TOPIC_AUTHORIZATION_FAILED: 29,
  CLUSTER_AUTHORIZATION_FAILED: 31,
  UNSUPPORTED_VERSION: 35,
  TOPIC_ALREADY_EXISTS: 36,
  NOT_CONTROLLER: 41,
  TOPIC_DELETION_DISABLED: 73,
  THROTTLING_QUOTA_EXCEEDED: 89,
  UNKNOWN_TOPIC_ID: 100,
} as const

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(KAFKA_ERRORS).map(([name, code]) => [code, name]))

const REASONS: Readonly<Record<number, KafkaReason>> = {
  [KAFKA_ERRORS.LEADER_NOT_AVAILABLE]: 'KafkaUnavailable',
  [KAFKA_ERRORS.REQUEST_TIMED_OUT]: 'KafkaUnavailable',
  [KAFKA_ERRORS.TOPIC_AUTHORIZATION_FAILED]: 'KafkaNotAuthorized',
  [KAFKA_ERRORS.CLUSTER_AUTHORIZATION_FAILED]: 'KafkaNotAuthorized',
  [KAFKA_ERRORS.UNSUPPORTED_VERSION]: 'NotSupported',
  [KAFKA_ERRORS.NOT_CONTROLLER]: 'KafkaUnavailable',
  [KAFKA_ERRORS.TOPIC_DELETION_DISABLED]: 'NotSupported',
  [KAFKA_ERRORS.THROTTLING_QUOTA_EXCEEDED]: 'KafkaUnavailable',
}

/** What Kafka answered to a request about a topic, as a problem. */
export function problemOf(what: string, errorCode: number, errorMessage: string | null): KafkaProblem {
  const words = [NAMES.get(errorCode) ?? `error ${errorCode}`, errorMessage].filter((part) => part !== null).join(': ')
  return new KafkaProblem(REASONS[errorCode] ?? 'TopicRefused', `${what}: ${words}`, { errorCode })
}

/**
 * What kafkajs threw, as a problem. What is not Kafka's or the network's is a fault of ours and stays as it is.
 * @returns the problem, or the error itself.
 */
export function asProblem(error: unknown, servers: readonly string[]): unknown {
  if (error instanceof KafkaProblem) return error
  const at = servers.join(', ')
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const { type } = cause as { readonly type?: unknown }
    if (cause.name.includes('SASL') || (typeof type === 'string' && /AUTHORI[SZ]ATION|SASL/.test(type))) {
      return new KafkaProblem('KafkaNotAuthorized', `${at}: ${cause.message}`, { cause: error })
    }
    if (cause instanceof MalformedMessage) {
      return new KafkaProblem('NotSupported', `${at}: ${cause.message}`, { cause: error })
    }
  }
  // kafkajs throws plain errors too ("Broker not connected"); a fault of ours is a TypeError or its like.
  if (!(error instanceof Error) || !(error.name.startsWith('Kafka') || error.name === 'Error')) return error
  const noAnswer = noAnswerOf(error)
  return new KafkaProblem('KafkaUnavailable', `${at}: ${withoutPlaces(error.message)}`, {
    cause: error,
    ...(noAnswer === undefined ? {} : { noAnswer }),
  })
}

/** No broker answered within the time for it. */
export const tooLate = (noAnswer: NoAnswer, servers: readonly string[]): KafkaProblem =>
  new KafkaProblem('KafkaUnavailable', `${servers.join(', ')}: no broker answers`, { noAnswer })

const UNREACHABLE = /^E(CONNREFUSED|HOSTUNREACH|NETUNREACH|HOSTDOWN|NETDOWN|TIMEDOUT|ADDRNOTAVAIL)$|^ENOTFOUND$|^EAI_/
const SILENT = new Set([
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSLockTimeout',
  // "Broker not connected"
  'Error',
])

/** By what the retries, which say no more than how many they were, ended with. */
function noAnswerOf(error: Error): NoAnswer | undefined {
  let cause = error
  while (cause.cause instanceof Error) cause = cause.cause
  const { name, message, code } = cause as NodeJS.ErrnoException
  if (typeof code === 'string' && UNREACHABLE.test(code)) return 'Unreachable'
  if (name === 'KafkaJSConnectionError' && message === 'Connection timeout') return 'Unreachable'
  return SILENT.has(name) ? 'Silent' : undefined
}

/** Which broker was asked differs from one time to the next; what is told should not. */
const withoutPlaces = (message: string): string => {
  if (/certificate|ssl|tls/i.test(message)) return message
  const code = /\bE[A-Z]{4,}\b/.exec(message)?.[0]
  return code === undefined ? 'no broker answers' : `no broker answers (${code})`
}
