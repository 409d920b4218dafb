/** Who of several ConsumerGroups has what only one can have: the oldest, by creationTimestamp, then by uid. */
import type { CalculateService, ConsumerGroup } from '../../crds/types.ts'
import { compareAge } from '../age.ts'
import { isSameKafka } from '../kafka/same-kafka.ts'
import type { KafkaAddress } from '../kafka/same-kafka.ts'
import type { Rival } from './observed.ts'

/**
 * Why this group may not run, as a message that names the older one; undefined: it may.
 *
 * SEMANTICS 9: a service has one Responder. And members of one Kafka consumer group share its work: two ConsumerGroups of
 * one group id would each run only some of the calls.
 */
export function conflictOf(
  group: ConsumerGroup,
  service: CalculateService | undefined,
  rivals: readonly Rival[],
): string | undefined {
  const older = rivals
    .filter((rival) => compareAge(rival.group.metadata, group.metadata) < 0)
    .toSorted((a, b) => compareAge(a.group.metadata, b.group.metadata))
  const responder = older.find((rival) => isResponderOfSame(rival.group, group))
  if (responder !== undefined) {
    const { name } = group.spec.calculateServiceRef
    return `spec.role: ConsumerGroup ${responder.group.metadata.name} is older and the Responder of CalculateService ${name}`
  }
  const namesake = older.find(
    (rival) => rival.group.spec.groupId === group.spec.groupId && sharesKafka(rival.service, service),
  )
  if (namesake === undefined) return undefined
  const { namespace, name } = namesake.group.metadata
  const where = namespace === group.metadata.namespace ? '' : ` in namespace ${namespace}`
  return `spec.groupId: ConsumerGroup ${name}${where} is older and has the group id ${group.spec.groupId} in the same Kafka`
}

const isResponderOfSame = (a: ConsumerGroup, b: ConsumerGroup): boolean =>
  a.spec.role === 'Responder' &&
  b.spec.role === 'Responder' &&
  a.metadata.namespace === b.metadata.namespace &&
  a.spec.calculateServiceRef.name === b.spec.calculateServiceRef.name

const sharesKafka = (a: CalculateService | undefined, b: CalculateService | undefined): boolean =>
  a !== undefined && b !== undefined && isSameKafka(kafkaOf(a), kafkaOf(b))

const kafkaOf = ({ spec, status }: CalculateService): KafkaAddress => ({
  bootstrapServers: spec.kafka.bootstrapServers,
  clusterId: status?.clusterId,
})
