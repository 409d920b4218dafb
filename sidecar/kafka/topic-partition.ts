export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** As a key of maps and for people: `calls/3`. Names of topics have no slash. */
export const keyOf = ({ topic, partition }: TopicPartition): string => `${topic}/${partition}`
