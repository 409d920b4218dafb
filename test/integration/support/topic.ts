/** What stands on a route's topics and in Redis, read and written past the sidecars. */
import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import type { IHeaders, Kafka, KafkaMessage } from 'kafkajs'
import type { CallId } from '../../../sidecar/call-id.ts'
import { createKafka } from '../../../sidecar/kafka/client.ts'
import { isOutcome } from '../../../sidecar/results/call-state.ts'
import { callKey } from '../../../sidecar/results/keys.ts'
import { decodeOutcome } from '../../../sidecar/results/outcome.ts'
import type { Outcome } from '../../../sidecar/results/outcome.ts'
import { createLogger } from '../../../sidecar/telemetry/log.ts'
import { until } from './route.ts'
import type { Route } from './route.ts'

const kafkaOf = ({ brokers }: Route): Kafka =>
  createKafka({ brokers, clientId: 'test', logger: createLogger('error', {}) })

export type ReadMessage = KafkaMessage & { readonly partition: number }

/** All records of a topic, in the order of each partition; waits until there are `count`. */
export async function readTopic(route: Route, count: number, topic = route.topic): Promise<ReadMessage[]> {
  await until(`${topic} holds ${count} records`, async () => (await route.records(topic)) >= count)
  const groupId = `reader-${randomUUID()}`
  const consumer = kafkaOf(route).consumer({ groupId, maxWaitTimeInMs: 100 })
  const messages: ReadMessage[] = []
  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        const { partition } = batch
        messages.push(...batch.messages.map((message) => ({ ...message, partition })))
      },
    })
    await until(`${count} records of ${topic} are read`, () => messages.length >= count)
  } finally {
    await consumer.disconnect()
    await route.admin.deleteGroups([groupId]).catch(() => undefined)
  }
  return messages
}

export interface RawMessage {
  readonly key?: Buffer | null
  readonly value: Buffer | null
  readonly headers?: IHeaders
  readonly partition?: number
}

/** Puts records on a topic as they are. */
export async function produceRaw(route: Route, messages: readonly RawMessage[], topic = route.topic): Promise<void> {
  const producer = kafkaOf(route).producer({ allowAutoTopicCreation: false })
  await producer.connect()
  try {
    await producer.send({ topic, messages: messages.map((message) => ({ partition: 0, ...message })) })
  } finally {
    await producer.disconnect()
  }
}

/** A header's values as text. */
export function headerTexts(message: KafkaMessage, name: string): string[] {
  const value = message.headers?.[name]
  return value === undefined ? [] : [value].flat().map(String)
}

/** The bytes of everything that a record holds, for searching. */
export function allBytes({ key, value, headers }: Pick<KafkaMessage, 'key' | 'value' | 'headers'>): string {
  const parts = [key, value, ...Object.entries(headers ?? {}).flat(2)]
  return parts.map((part) => (Buffer.isBuffer(part) ? part.toString('latin1') : (part ?? ''))).join('\n')
}

/** Reads outcomes past the sidecars. */
export class OutcomeReader {
  readonly #redis: Redis

  constructor(route: Route) {
    this.#redis = new Redis(route.redisUrl)
  }

  async bytes(id: CallId): Promise<Buffer | null> {
    return this.#redis.getBuffer(callKey(id))
  }

  async outcome(id: CallId): Promise<Outcome | undefined> {
    const bytes = await this.bytes(id)
    return bytes === null || !isOutcome(bytes) ? undefined : decodeOutcome(bytes)
  }

  /** Waits for a call's outcome. */
  async settled(id: CallId, milliseconds?: number): Promise<Outcome> {
    let outcome: Outcome | undefined
    await until(
      `${id.toString('hex')} has an outcome`,
      async () => {
        outcome = await this.outcome(id)
        return outcome !== undefined
      },
      milliseconds,
    )
    return outcome as Outcome
  }

  async close(): Promise<void> {
    await this.#redis.quit()
  }
}
