import type { CalculateService } from '../../crds/types.ts'

/** The names of a service's topics, also where its settings are refused. */
export const topicNames = ({ spec: { topic } }: CalculateService): readonly string[] => [
  topic.name,
  `${topic.name}.dead`,
]
