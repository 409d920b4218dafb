/** What the operator writes into, and reads from, the metadata of a CalculateService. */
import type { CalculateService } from '../../crds/types.ts'

/** Keeps the object until the topics that were made for it are deleted. */
export const TOPICS_FINALIZER = 'grpckafka.dev/topics'

/** Keeps the object until its proxies are out of Consul. */
export const CONSUL_FINALIZER = 'grpckafka.dev/consul'

/**
 * Names of topics that are about to be made, written before: should the answer be lost, they are known as our own. With a
 * `!` before it, a topic that Kafka did not make when it was asked: one that is found later is somebody else's.
 */
export const ANNOUNCED_TOPICS = 'grpckafka.dev/announced-topics'

const announced = ({ metadata }: CalculateService): readonly string[] =>
  (metadata.annotations?.[ANNOUNCED_TOPICS] ?? '').split(',').filter((name) => name !== '')

export const announcedTopics = (service: CalculateService): ReadonlySet<string> =>
  new Set(announced(service).map((name) => name.replace('!', '')))

/** Those of them that may have been made without anybody knowing. */
export const perhapsMadeTopics = (service: CalculateService): ReadonlySet<string> =>
  new Set(announced(service).filter((name) => !name.startsWith('!')))

/** The announcement's text. */
export const announcementOf = (names: Iterable<string>, notMade: ReadonlySet<string>): string =>
  [...names].map((name) => (notMade.has(name) ? `!${name}` : name)).join(',')
