import assert from 'node:assert/strict'
import { test } from 'node:test'
import kafkajs from 'kafkajs'
import { asProblem, KafkaProblem } from '../../../../operator/kafka/kafka-problem.ts'
import type { NoAnswer } from '../../../../operator/kafka/kafka-problem.ts'

const { KafkaJSConnectionError, KafkaJSNumberOfRetriesExceeded, KafkaJSProtocolError } = kafkajs
const { KafkaJSRequestTimeoutError } = kafkajs

const retried = (last: Error) => new KafkaJSNumberOfRetriesExceeded(last, { retryCount: 2, retryTime: 50 })
const connection = (message: string, code?: string) =>
  new KafkaJSConnectionError(message, { broker: 'kafka:9092', ...(code === undefined ? {} : { code }) })
const answered = new KafkaJSProtocolError({ message: 'no leader', type: 'LEADER_NOT_AVAILABLE', code: 5 } as never)

const CASES: readonly { readonly name: string; readonly error: Error; readonly noAnswer: NoAnswer | undefined }[] = [
  { name: 'a refused connection', error: connection('connect', 'ECONNREFUSED'), noAnswer: 'Unreachable' },
  { name: 'a name that is none', error: retried(connection('getaddrinfo', 'ENOTFOUND')), noAnswer: 'Unreachable' },
  {
    name: 'a connection that is not made in time',
    error: retried(connection('Connection timeout')),
    noAnswer: 'Unreachable',
  },
  { name: 'a closed connection', error: retried(connection('Connection error', 'ECONNRESET')), noAnswer: 'Silent' },
  { name: 'a certificate', error: connection('Connection error: self-signed certificate'), noAnswer: 'Silent' },
  { name: 'a request without an answer', error: new KafkaJSRequestTimeoutError('timed out'), noAnswer: 'Silent' },
  { name: 'no connection', error: retried(new Error('Broker not connected')), noAnswer: 'Silent' },
  { name: "a broker's answer", error: retried(answered), noAnswer: undefined },
]

for (const { name, error, noAnswer } of CASES) {
  test(`of ${name} it is known whether a broker answered`, () => {
    const problem = asProblem(error, ['kafka:9092'])
    assert.ok(problem instanceof KafkaProblem)
    assert.deepEqual([problem.reason, problem.noAnswer], ['KafkaUnavailable', noAnswer])
  })
}
