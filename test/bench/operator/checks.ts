/** What has to be there after a step of the benchmark, whoever did it, and what may not. */
import assert from 'node:assert/strict'
import type { CalculateService } from '../../../crds/types.ts'
import { topicNames } from '../../../operator/calculateservice/topic-names.ts'
import type { KafkaTopicAdmin } from '../../../operator/kafka/topic-admin.ts'
import type { ObservedTopic } from '../../../operator/kafka/topic-plan.ts'
import type { Namespace } from '../../operator/support/namespace.ts'
import { until } from '../../operator/support/until.ts'
import { partitionsOf, serviceName, timeoutOf, topicName, type Version } from './services.ts'

/** Topics in one request. */
const CHUNK = 100
const CHILDREN = [
  'Deployment',
  'ReplicaSet',
  'Pod',
  'Service',
  'ServiceAccount',
  'ConfigMap',
  'PodDisruptionBudget',
] as const

/** Who is fast by leaving something out has not won. */
export async function assertMade(
  namespace: Namespace,
  kafka: KafkaTopicAdmin,
  services: number,
  version: Version,
): Promise<void> {
  const topics = await topicsOf(namespace, kafka, services)
  const configMaps = new Map((await namespace.list('ConfigMap')).map((one) => [one.metadata.name, one]))
  for (let index = 0; index < services; index++) {
    const name = topicName(namespace.name, index)
    assert.equal(topics.get(name)?.partitions, partitionsOf(version), name)
    assert.equal(topics.get(`${name}.dead`)?.partitions, 1, `${name}.dead`)
    const data = configMaps.get(`${serviceName(index)}-proxy`)?.data ?? {}
    assert.match(JSON.stringify(data), new RegExp(String(timeoutOf(version))), serviceName(index))
  }
  for (const kind of ['Deployment', 'Service', 'ServiceAccount', 'PodDisruptionBudget'] as const) {
    const ours = (await namespace.list(kind)).filter(({ metadata }) => metadata.name.endsWith('-proxy'))
    assert.equal(ours.length, services, kind)
  }
}

/** Children are the garbage collector's to take away: it may have done so before the next round begins. */
export async function assertGone(namespace: Namespace, kafka: KafkaTopicAdmin, services: number): Promise<void> {
  // A broker hears a moment later than the controller that a topic is deleted.
  await until(
    `topics of ${namespace.name} are gone`,
    async () => (await topicsOf(namespace, kafka, services)).size === 0,
  )
  await until(`everything that was made in ${namespace.name} is gone`, async () => {
    const found = await Promise.all(CHILDREN.map((kind) => namespace.list(kind)))
    return found.flat().every(({ metadata }) => !metadata.name.startsWith('service-'))
  })
}

async function topicsOf(
  { name }: Namespace,
  kafka: KafkaTopicAdmin,
  services: number,
): Promise<ReadonlyMap<string, ObservedTopic>> {
  const names = Array.from({ length: services }, (_, index) =>
    topicNames({ spec: { topic: { name: topicName(name, index) } } } as CalculateService, 0),
  ).flat()
  const found = new Map<string, ObservedTopic>()
  for (let at = 0; at < names.length; at += CHUNK) {
    const { topics } = await kafka.observe(names.slice(at, at + CHUNK))
    for (const [topic, observed] of topics) found.set(topic, observed)
  }
  return found
}
