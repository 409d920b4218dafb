/** Three brokers as people run them: TLS, SCRAM-SHA-512, three copies of which two must be in sync. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { Load, assertAllAnswered, slowest } from './support/load.ts'
import { ownKafkaCluster } from './support/own.ts'
import { startRoute, until } from './support/route.ts'
import type { Route, RouteOptions } from './support/route.ts'
import { byScram } from './support/secured-kafka.ts'

/** How long brokers take to come back is the machine's affair; nothing here may end for it. */
const DEADLINE_MILLISECONDS = 120_000
const WAIT_MILLISECONDS = 90_000
const PARTITIONS = 6

test('a Kafka of three brokers', async (t) => {
  const cluster = await ownKafkaCluster(t, 3)
  const start = (part: TestContext, options: RouteOptions = {}): Promise<Route> =>
    startRoute(part, {
      brokers: cluster.brokers,
      kafka: byScram(cluster.listeners['SCRAM'] ?? [], cluster.files),
      partitions: PARTITIONS,
      replicationFactor: 3,
      topicConfig: { 'min.insync.replicas': '2' },
      workers: 2,
      method: { timeoutMilliseconds: DEADLINE_MILLISECONDS },
      worker: { retry: { maxAttempts: 3 } },
      ...options,
    })
  const node = (id: number) => {
    const found = cluster.nodes[id - 1]
    assert.ok(found)
    return found
  }
  const leaders = async (route: Route): Promise<readonly number[]> => {
    const { topics } = await route.admin.fetchTopicMetadata({ topics: [route.topic] })
    const partitions = topics[0]?.partitions ?? []
    return partitions.toSorted((one, other) => one.partitionId - other.partitionId).map(({ leader }) => leader)
  }
  /** As `until`; while brokers come and go a question may find none that answers. */
  const untilToldThat = (what: string, condition: () => Promise<boolean>): Promise<void> =>
    until(what, () => condition().catch(() => false), WAIT_MILLISECONDS)
  /** Every partition has its three copies in sync, those of the group's offsets too. */
  const whole = (route: Route): Promise<void> =>
    untilToldThat('every copy is in sync', async () => {
      const { topics } = await route.admin.fetchTopicMetadata({ topics: [route.topic, '__consumer_offsets'] })
      return topics.every(({ partitions }) => partitions.every(({ isr }) => isr.length === 3))
    })
  /** To each of these partitions, from now on. */
  const untilProducedTo = async (route: Route, partitions: readonly number[]): Promise<void> => {
    const ends = async () =>
      new Map(
        (await route.admin.fetchTopicOffsets(route.topic)).map(({ partition, high }) => [partition, Number(high)]),
      )
    let before: Awaited<ReturnType<typeof ends>> | undefined
    await untilToldThat('the partitions that have another leader are produced to', async () => {
      const now = await ends()
      const first = (before ??= now)
      return partitions.every((partition) => (now.get(partition) ?? 0) > (first.get(partition) ?? 0))
    })
  }
  const goOn = (load: Load): Promise<void> => load.goOn(50, WAIT_MILLISECONDS)

  await t.test('a leader is killed under load: every call is answered', async (part) => {
    const route = await start(part)
    const load = new Load(route, { perSecond: 50, instruction: { sleep: 5 }, deadline: DEADLINE_MILLISECONDS })
    await goOn(load)
    const led = await leaders(route)
    const [leader = 1] = led
    const moved = led.flatMap((id, partition) => (id === leader ? [partition] : []))
    await node(leader).kill('SIGKILL')
    await untilToldThat('others lead', async () => !(await leaders(route)).includes(leader))
    await goOn(load)
    await untilProducedTo(route, moved)
    await node(leader).start()
    await goOn(load)
    const answers = await load.stop()
    part.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
    assertAllAnswered(answers)
    assert.equal(route.runs().size, answers.length)
    await untilToldThat('every offset is committed', async () => (await route.lag()) === 0)
    await whole(route)
  })

  await t.test(
    '3, 2, 1, 2 and 3 brokers under load: calls wait for the second, and every one is answered',
    async (part) => {
      const route = await start(part)
      const [proxy] = route.proxies
      assert.ok(proxy)
      const load = new Load(route, { perSecond: 50, instruction: { sleep: 5 }, deadline: DEADLINE_MILLISECONDS })
      await goOn(load)
      await node(1).stop()
      await goOn(load)
      await node(2).stop()
      const refused = () => route.metric(proxy, 'grpc_kafka_produce_errors_total', 'REFUSED')
      const before = await refused()
      await until('Kafka refuses what would stand once only', async () => (await refused()) > before, WAIT_MILLISECONDS)
      const alone = load.answered
      await node(1).start()
      await goOn(load)
      await node(2).start()
      await goOn(load)
      const answers = await load.stop()
      part.diagnostic(`${answers.length} calls, ${alone} before the second came back, slowest ${slowest(answers)} ms`)
      assertAllAnswered(answers)
      assert.equal(route.runs().size, answers.length)
      await untilToldThat('every offset is committed', async () => (await route.lag()) === 0)
      await whole(route)
    },
  )
})
