import type { CalculateService } from '../../crds/types.ts'

type TopicInStatus = NonNullable<NonNullable<CalculateService['status']>['topics']>[number]

/** The topic of a service's calls as its status tells of it; undefined where it is not there, or not the service's. */
export const topicIn = ({ spec, status }: CalculateService): TopicInStatus | undefined =>
  status?.topics?.find(({ name }) => name === spec.topic.name)
