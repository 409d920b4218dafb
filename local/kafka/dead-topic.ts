import type { Kafka, Producer } from 'kafkajs'
import { deadTopic, openLettersGroup } from '../../sidecar/kafka/topic-names.ts'
import { partitionOfKey } from '../../sidecar/kafka/partitioner.ts'
import type { RawOutgoingRecord } from '../../sidecar/kafka/record.ts'
import { markOf, readDeadTopicRecord } from '../dead-letters/dead-letter.ts'
import type { DeadLetter, Done } from '../dead-letters/dead-letter.ts'
import { OpenLetters } from '../dead-letters/open-letters.ts'
import { TopicReader } from './topic-reader.ts'
import type { PartitionBounds } from './topic-reader.ts'

/** A service's failure topic, for whoever looks after it. */
export class DeadTopic {
  readonly #topic: string
  readonly #reader: TopicReader
  readonly #producer: Producer
  readonly #open = new OpenLetters()
  readonly #next = new Map<number, number>()
  #bounds: readonly PartitionBounds[] = []
  #connected: Promise<void> | undefined

  /** @param topic that of the service's calls. */
  constructor(kafka: Kafka, topic: string) {
    this.#topic = topic
    this.#reader = new TopicReader(kafka, deadTopic(topic))
    this.#producer = kafka.producer({
      allowAutoTopicCreation: false,
      // Where the proxies put a call with an order, too: those of its key wait for each other.
      createPartitioner:
        () =>
        ({ message, partitionMetadata }) =>
          message.partition ?? partitionOfKey(message.key as Buffer, partitionMetadata.length),
    })
  }

  /** Reads the topic to its end, as it is now. @throws TopicReadError; the signal's reason */
  async open(signal: AbortSignal): Promise<void> {
    this.#bounds = await this.#reader.open()
    for (const { partition, low, high } of this.#bounds) {
      const from = Math.max(low, this.#next.get(partition) ?? 0)
      for await (const record of this.#reader.read(partition, from, high, signal))
        this.#open.add(readDeadTopicRecord(record))
      this.#next.set(partition, high)
    }
  }

  /** Those that are not done with, the oldest first. @throws TopicReadError; the signal's reason */
  async *letters(signal: AbortSignal): AsyncGenerator<DeadLetter> {
    for (const { partition, low, high } of this.#bounds) {
      for await (const record of this.#reader.read(partition, low, high, signal)) {
        const letter = readDeadTopicRecord(record)
        if (letter.kind === 'Letter' && this.#open.has(letter.place)) yield letter
      }
    }
  }

  /**
   * Any letter, also one that is done with.
   * @returns undefined where there is none.
   * @throws TopicReadError; the signal's reason
   */
  async letter(partition: number, offset: number, signal: AbortSignal): Promise<DeadLetter | undefined> {
    const bounds = this.#bounds.find((one) => one.partition === partition)
    if (bounds === undefined || offset < bounds.low || offset >= bounds.high) return undefined
    for await (const record of this.#reader.read(partition, offset, offset + 1, signal)) {
      const letter = readDeadTopicRecord(record)
      return letter.kind === 'Letter' ? letter : undefined
    }
    return undefined
  }

  isOpen({ place }: DeadLetter): boolean {
    return this.#open.has(place)
  }

  /** The revision of an open letter's next redrive; undefined: it is not open. */
  redriveOf({ place }: DeadLetter): number | undefined {
    return this.#open.redriveOf(place)
  }

  /** Puts a call on the service's topic, into the partition of its key. @throws when Kafka did not take it */
  async redrive({ key, value, headers }: RawOutgoingRecord): Promise<void> {
    await this.#send(this.#topic, { key, value, headers })
  }

  /** Says that a letter is done with. @throws when Kafka did not take it */
  async mark({ place, record: { partition } }: DeadLetter, done: Done, now: number): Promise<void> {
    await this.#send(deadTopic(this.#topic), { key: null, value: null, ...markOf(place, done, now) }, partition)
  }

  /**
   * Commits offsets for a group that nobody is in, so that its lag is the number of open letters: what counts lag counts them,
   * those that come later too. Whoever must not do so is not disturbed: then the count is that of all records.
   */
  async tellCount(signal: AbortSignal): Promise<void> {
    await this.open(signal)
    await this.#reader
      .commit(
        openLettersGroup(this.#topic),
        this.#bounds.map(({ partition, high }) => ({ partition, offset: high - this.#open.countOf(partition) })),
      )
      .catch(() => undefined)
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#reader.close(), this.#producer.disconnect()])
  }

  async #send(topic: string, message: RawOutgoingRecord, partition?: number): Promise<void> {
    this.#connected ??= this.#producer.connect()
    await this.#connected
    await this.#producer.send({
      topic,
      acks: -1,
      messages: [{ ...message, ...(partition !== undefined && { partition }) }],
    })
  }
}
