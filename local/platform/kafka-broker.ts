/** The settings of a broker, and of the controller that keeps a cluster of them. */
import { untilKafkaAnswers } from '../kafka/admin.ts'
import { freePort } from './free-port.ts'

const HOST = '127.0.0.1'

/** A door of its own for clients, beside the plain one that brokers and tests use. */
export type KafkaListener = {
  /** In capitals: `TEAM`. */
  readonly name: string
  readonly protocol: 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL'
  /** Kafka's settings of a listener, without `listener.name.<name>.`. */
  readonly properties: Readonly<Record<string, string>>
  /** Clients are told another port, on which somebody else listens and passes on what comes: a relay. */
  readonly relayed?: boolean
}

/** A door with its port, and the one that clients are told where it is another. */
export type PlacedListener = KafkaListener & { readonly port: number; readonly advertisedPort?: number }

export type BrokerSettings = {
  readonly id: number
  readonly port: number
  readonly controller: { readonly id: number; readonly port: number }
  /** Where the broker is its own controller, it says so. */
  readonly roles: 'broker' | 'broker,controller'
  /** Of Kafka's own topics: offsets and transactions. */
  readonly copies: number
  readonly listeners?: readonly PlacedListener[]
}

type Properties = Readonly<Record<string, string>>

export function brokerProperties(settings: BrokerSettings): Properties {
  const { id, port, controller, roles, copies, listeners = [] } = settings
  const open = (portOf: (one: PlacedListener) => number): string[] => [
    `PLAINTEXT://${HOST}:${port}`,
    ...listeners.map((one) => `${one.name}://${HOST}:${portOf(one)}`),
  ]
  const own = roles === 'broker' ? [] : [`CONTROLLER://${HOST}:${controller.port}`]
  const protocols = listeners.map(({ name, protocol }) => `${name}:${protocol}`)
  return {
    'process.roles': roles,
    'node.id': String(id),
    'controller.quorum.voters': `${controller.id}@${HOST}:${controller.port}`,
    listeners: [...open((one) => one.port), ...own].join(','),
    'advertised.listeners': open((one) => one.advertisedPort ?? one.port).join(','),
    'listener.security.protocol.map': ['PLAINTEXT:PLAINTEXT', 'CONTROLLER:PLAINTEXT', ...protocols].join(','),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    // Topics are made from resources; one that appears by itself would hide a wrong name.
    'auto.create.topics.enable': 'false',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '6000',
    ...ownTopic('offsets.topic', copies),
    ...ownTopic('transaction.state.log', copies),
    ...ownTopic('share.coordinator.state.topic', copies),
    'transaction.state.log.min.isr': '1',
    'share.coordinator.state.topic.min.isr': '1',
    // The default, 128 MiB, is a quarter of this heap; there is little to clean.
    'log.cleaner.dedupe.buffer.size': '8388608',
    'num.network.threads': '2',
    'num.io.threads': '4',
    // After a kill the broker may register again only when the session of its last life is over (default 9 s).
    'broker.session.timeout.ms': '4000',
    'broker.heartbeat.interval.ms': '500',
    ...Object.fromEntries(
      listeners.flatMap(({ name, properties }) =>
        Object.entries(properties).map(([key, value]) => [`listener.name.${name.toLowerCase()}.${key}`, value]),
      ),
    ),
  }
}

const ownTopic = (prefix: string, copies: number): Properties => ({
  [`${prefix}.num.partitions`]: '4',
  [`${prefix}.replication.factor`]: String(copies),
})

export function controllerProperties({ id, port }: BrokerSettings['controller']): Properties {
  return {
    'process.roles': 'controller',
    'node.id': String(id),
    'controller.quorum.voters': `${id}@${HOST}:${port}`,
    listeners: `CONTROLLER://${HOST}:${port}`,
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT',
    'controller.listener.names': 'CONTROLLER',
    'broker.session.timeout.ms': '4000',
  }
}

export type LoneBroker = {
  readonly address: string
  readonly properties: Properties
  readonly untilAnswers: (signal: AbortSignal) => Promise<void>
}

/** A broker that is its own controller, with one copy of everything. */
export async function loneBroker(
  given?: number,
  listeners: NonNullable<BrokerSettings['listeners']> = [],
): Promise<LoneBroker> {
  const port = given ?? (await freePort())
  const controller = { id: 1, port: await freePort() }
  const address = `${HOST}:${port}`
  return {
    address,
    properties: brokerProperties({ id: 1, port, controller, roles: 'broker,controller', copies: 1, listeners }),
    untilAnswers: (signal) => untilKafkaAnswers([address], signal),
  }
}

/** @returns the listeners, each with ports that are free. */
export async function withPorts(listeners: readonly KafkaListener[]): Promise<readonly PlacedListener[]> {
  return Promise.all(
    listeners.map(async (listener) => ({
      ...listener,
      port: await freePort(),
      ...(listener.relayed === true && { advertisedPort: await freePort() }),
    })),
  )
}
