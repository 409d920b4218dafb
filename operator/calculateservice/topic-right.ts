/** Whether a service may have its topics at all: named checks in their order, the first that fails is what is told. */
import type { CalculateService } from '../../crds/types.ts'
import type { TopicProblem } from '../kafka/topic-plan.ts'
import { ownerBefore } from '../kafka/topic-claims.ts'
import type { TopicClaim } from '../kafka/topic-claims.ts'
import { desiredTopics, TopicSettingsError } from '../kafka/topics.ts'
import { isPaused } from '../paused.ts'
import { TOPICS_FINALIZER } from './reconciliation.ts'

interface Claimed {
  readonly service: CalculateService
  readonly topicAllowed: boolean
  readonly mine: TopicClaim
  readonly claims: readonly TopicClaim[]
}

type Check = (claimed: Claimed) => TopicProblem | undefined

const nameIsAllowed: Check = ({ service, topicAllowed }) =>
  topicAllowed
    ? undefined
    : {
        reason: 'TopicNotAllowed',
        message: `spec.topic.name: ${service.spec.topic.name} has no prefix that namespace ${service.metadata.namespace ?? ''} may use`,
      }

const nobodyHadItBefore: Check = ({ service, mine, claims }) => {
  const owner = ownerBefore(mine, claims)
  return owner === undefined
    ? undefined
    : {
        reason: 'TopicConflict',
        message: `spec.topic.name: ${service.spec.topic.name} belongs to CalculateService ${owner.namespace}/${owner.name}, which is older`,
      }
}

const settingsLoseNoCalls: Check = ({ service }) => {
  try {
    desiredTopics(service)
    return undefined
  } catch (error) {
    if (!(error instanceof TopicSettingsError)) throw error
    return { reason: 'TopicSettingsRefused', message: error.problems.join('; ') }
  }
}

const CHECKS: readonly Check[] = [nameIsAllowed, nobodyHadItBefore, settingsLoseNoCalls]

/** Why nothing may be done about the topics of a service, or undefined. */
export function topicRefusal(claimed: Claimed): TopicProblem | undefined {
  for (const check of CHECKS) {
    const problem = check(claimed)
    if (problem !== undefined) return problem
  }
  return undefined
}

/** Whether there is anything to ask Kafka about. A service that goes asks where it may have topics to delete. */
export const mayAskKafka = (claimed: Claimed): boolean => {
  const { metadata, spec } = claimed.service
  if (metadata.deletionTimestamp !== undefined) {
    return spec.topic.deletionPolicy === 'Delete' && (metadata.finalizers ?? []).includes(TOPICS_FINALIZER)
  }
  return !isPaused(claimed.service) && topicRefusal(claimed) === undefined
}
