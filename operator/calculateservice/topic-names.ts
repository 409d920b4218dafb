import type { CalculateService } from '../../crds/types.ts'
import { deadTopic, retryTopic } from '../../sidecar/kafka/topic-names.ts'

/** The names of a service's topics, also where its settings are refused. */
export const topicNames = ({ spec: { topic } }: CalculateService, retrySteps: number): readonly string[] => [
  topic.name,
  ...Array.from({ length: retrySteps }, (_, index) => retryTopic(topic.name, index + 1)),
  deadTopic(topic.name),
]
