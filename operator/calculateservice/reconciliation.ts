/** What the operator writes into, and reads from, the metadata of a CalculateService. */
import type { CalculateService } from '../../crds/types.ts'

/** Keeps the object until the topics that were made for it are deleted. */
export const TOPICS_FINALIZER = 'grpckafka.dev/topics'

/** Keeps the object until its proxies are out of Consul. */
export const CONSUL_FINALIZER = 'grpckafka.dev/consul'

/** Names of topics that are about to be made, written before: should the answer be lost, they are known as our own. */
export const ANNOUNCED_TOPICS = 'grpckafka.dev/announced-topics'

export const announcedTopics = ({ metadata }: CalculateService): ReadonlySet<string> =>
  new Set((metadata.annotations?.[ANNOUNCED_TOPICS] ?? '').split(',').filter((name) => name !== ''))
