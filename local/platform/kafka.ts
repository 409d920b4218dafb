/**
 * A Kafka broker of one's own: version 4.1.0 in KRaft mode, broker and controller in one process, with nothing
 * replicated and everything in one folder.
 */
import { reportToTerminal, type Report } from '../report.ts'
import { loneBroker, withPorts, type KafkaListener } from './kafka-broker.ts'
import { startKafkaProcess } from './kafka-process.ts'
import { ensureKafka } from './kafka-program.ts'
import type { Server } from './server.ts'

export type KafkaOptions = {
  /** Data, settings and logs go here; made when it is not there. A folder that has data is continued. */
  readonly directory: string
  /** Chosen when not given. */
  readonly port?: number
  readonly listeners?: readonly KafkaListener[]
  /** Users that a new folder begins with, by their passwords (SCRAM-SHA-512). */
  readonly users?: Readonly<Record<string, string>>
  /** Broker settings that are added or replace those of this project. */
  readonly properties?: Readonly<Record<string, string>>
  readonly report?: Report
}

export type KafkaServer = Server & {
  /** `host:port`: the plain one */
  readonly brokers: readonly string[]
  /** `host:port` of each listener, by its name. */
  readonly listeners: Readonly<Record<string, readonly string[]>>
}

/**
 * Gets what is missing (Java, Kafka's jars), starts a broker and waits until it answers.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws PartMissingError when a part cannot be had, PartFailedError with the end of the log when it does not come up
 */
export async function startKafka(options: KafkaOptions, signal?: AbortSignal): Promise<KafkaServer> {
  const { directory, report = reportToTerminal, users = {} } = options
  const program = await ensureKafka(report, signal)
  const listeners = await withPorts(options.listeners ?? [])
  const { address, properties, untilAnswers } = await loneBroker(options.port, listeners)
  const server = await startKafkaProcess(
    { program, directory, address, untilAnswers, users, properties: { ...properties, ...options.properties } },
    signal,
  )
  return Object.assign(server, {
    brokers: [address],
    listeners: Object.fromEntries(listeners.map(({ name, port }) => [name, [`127.0.0.1:${port}`]])),
  })
}
