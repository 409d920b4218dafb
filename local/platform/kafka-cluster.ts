/** Several Kafka brokers of one's own and the controller that keeps them, each in a process of its own. */
import { join } from 'node:path'
import { untilKafkaAnswers, untilListed } from '../kafka/admin.ts'
import { reportToTerminal, type Report } from '../report.ts'
import { freePort } from './free-port.ts'
import {
  brokerProperties,
  controllerProperties,
  withPorts,
  type KafkaListener,
  type PlacedListener,
} from './kafka-broker.ts'
import { SHORT_LIVED, startKafkaProcess } from './kafka-process.ts'
import { ensureKafka } from './kafka-program.ts'
import type { Server } from './server.ts'

export type KafkaClusterOptions = {
  /** Everything goes here. */
  readonly directory: string
  readonly brokerCount: number
  readonly listeners?: readonly KafkaListener[]
  /** Users that it begins with, by their passwords (SCRAM-SHA-512). */
  readonly users?: Readonly<Record<string, string>>
  /** Broker settings that are added or replace those of this project. */
  readonly properties?: Readonly<Record<string, string>>
  readonly report?: Report
}

export type KafkaCluster = {
  /** `host:port` of each broker: the plain ones */
  readonly brokers: readonly string[]
  /** `host:port` of each broker for each listener, by its name. */
  readonly listeners: Readonly<Record<string, readonly string[]>>
  /** The same, as clients are told: others for listeners that are relayed. */
  readonly advertised: Readonly<Record<string, readonly string[]>>
  /** Each may be killed and started again. The n-th has the id n + 1. */
  readonly nodes: readonly Server[]
  stop(): Promise<void>
}

const CONTROLLER_ID = 100
/** Nothing here holds much, or runs for long. */
const BROKER_JAVA = ['-Xms64m', '-Xmx256m', ...SHORT_LIVED]
const CONTROLLER_JAVA = ['-Xms64m', '-Xmx128m', ...SHORT_LIVED]

/**
 * Starts a controller and brokers, and waits until all of them are there and a group's coordinator answers. The
 * controller is apart, so that whichever brokers are down, leaders are still chosen.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws PartMissingError when a part cannot be had, PartFailedError with the end of the log when one does not come up
 */
export async function startKafkaCluster(options: KafkaClusterOptions, signal?: AbortSignal): Promise<KafkaCluster> {
  const { directory, brokerCount, report = reportToTerminal, users = {} } = options
  const program = await ensureKafka(report, signal)
  const controller = { id: CONTROLLER_ID, port: await freePort() }
  const plan = await Promise.all(
    Array.from({ length: brokerCount }, async (_, index) => ({
      id: index + 1,
      port: await freePort(),
      listeners: await withPorts(options.listeners ?? []),
    })),
  )
  const started = await Promise.allSettled([
    startKafkaProcess(
      {
        program,
        directory: join(directory, 'controller'),
        address: `127.0.0.1:${controller.port}`,
        properties: controllerProperties(controller),
        javaOptions: CONTROLLER_JAVA,
        users,
        // The brokers do not come up without it.
        untilAnswers: () => Promise.resolve(),
      },
      signal,
    ),
    ...plan.map(({ id, port, listeners }) =>
      startKafkaProcess(
        {
          program,
          directory: join(directory, `broker-${id}`),
          address: `127.0.0.1:${port}`,
          properties: {
            ...brokerProperties({ id, port, controller, roles: 'broker', copies: Math.min(3, brokerCount), listeners }),
            ...options.properties,
          },
          javaOptions: BROKER_JAVA,
          users,
          untilAnswers: (given) => untilListed(`127.0.0.1:${port}`, id, given),
        },
        signal,
      ),
    ),
  ])
  const [keeper, ...nodes] = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()))
    await keeper?.stop()
  }
  const brokers = plan.map(({ port }) => `127.0.0.1:${port}`)
  try {
    for (const one of started) if (one.status === 'rejected') throw one.reason
    await untilKafkaAnswers(brokers, signal ?? new AbortController().signal)
  } catch (error) {
    await stop()
    throw error
  }
  const addresses = (portOf: (one: PlacedListener) => number): KafkaCluster['listeners'] =>
    Object.fromEntries(
      (options.listeners ?? []).map(({ name }) => [
        name,
        plan.flatMap(({ listeners }) =>
          listeners.filter((one) => one.name === name).map((one) => `127.0.0.1:${portOf(one)}`),
        ),
      ]),
    )
  return {
    brokers,
    listeners: addresses(({ port }) => port),
    advertised: addresses(({ port, advertisedPort }) => advertisedPort ?? port),
    nodes,
    stop,
  }
}
