/** The calls' topic deleted under load, and made anew as the operator would. */
import { createTopics, until } from '../integration/support/route.ts'
import type { OnKafka } from './collect.ts'
import type { Fault } from './history.ts'
import type { Scene } from './scene.ts'

const REPORT_MILLISECONDS = 60_000
const CALLS_AFTER = 25

/**
 * Resolves when calls are answered on the new topic.
 * @throws when proxies and workers do not say what happened
 */
export async function deleteTopic(scene: Scene): Promise<Fault> {
  const { route } = scene
  const { topic } = route
  const errors = (): Promise<readonly number[]> =>
    Promise.all(route.proxies.map((proxy) => route.metric(proxy, 'grpc_kafka_produce_errors_total')))
  // Those in flight when it was asked for are those that it meets.
  const at = Date.now()
  const before = await errors()
  await route.admin.deleteTopics({ topics: [topic] })
  await until(
    'each proxy counts that Kafka does not take calls',
    async () => (await errors()).every((count, index) => count > before[index]!),
    REPORT_MILLISECONDS,
  )
  await createTopics(route.admin, [
    {
      topic,
      numPartitions: 6,
      replicationFactor: 3,
      configEntries: [
        { name: 'max.message.bytes', value: '4400000' },
        { name: 'min.insync.replicas', value: '2' },
      ],
    },
  ])
  await until(
    'workers say that the topic was made anew',
    () => route.workers.some(({ process }) => process.lines.some((line) => line.includes('the topic was made anew'))),
    REPORT_MILLISECONDS,
  )
  await scene.untilWhole()
  await scene.goesOn(CALLS_AFTER)
  return { kind: 'delete-topic', what: topic, at, until: Date.now() }
}

/** What was read before the deletion and after it, as one: the deleted topic has a name of its own. Commits of the time in between tell nothing. */
export function joined(kept: OnKafka, last: OnKafka, topic: string, { at, until }: Fault): OnKafka {
  const deleted = <T extends { readonly topic: string }>(one: T): T => ({ ...one, topic: `${topic} (deleted)` })
  return {
    records: [...kept.records.filter((one) => one.topic === topic).map(deleted), ...last.records],
    commits: last.commits.flatMap((one) => {
      if (one.topic !== topic || one.at > until) return [one]
      return one.at < at ? [deleted(one)] : []
    }),
    buried: last.buried,
    ids: new Map([...kept.ids, ...last.ids]),
  }
}
