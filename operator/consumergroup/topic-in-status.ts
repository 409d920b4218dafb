import type { CalculateService } from '../../crds/types.ts'
import { MOST_RETRY_STEPS, retryTopic } from '../../sidecar/kafka/topic-names.ts'

type TopicInStatus = NonNullable<NonNullable<CalculateService['status']>['topics']>[number]

/** The topic of a service's calls as its status tells of it; undefined where it is not there, or not the service's. */
export const topicIn = ({ spec, status }: CalculateService): TopicInStatus | undefined =>
  status?.topics?.find(({ name }) => name === spec.topic.name)

/** The names of its retry topics, as its status tells of them. */
export function retryTopicsIn({ spec, status }: CalculateService): readonly string[] {
  const there = new Set(status?.topics?.map(({ name }) => name))
  const names = Array.from({ length: MOST_RETRY_STEPS }, (_, index) => retryTopic(spec.topic.name, index + 1))
  return names.filter((name) => there.has(name))
}
