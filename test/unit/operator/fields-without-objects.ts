/** Fields of which no object in Kubernetes that is made for the resource tells, by kind, and what they change instead. */

const WORKERS = "the workers, which are made for the service's ConsumerGroups"

export const FIELDS_WITHOUT_OBJECTS = {
  CalculateService: {
    'spec.topic.name': 'immutable',
    'spec.topic.partitions': 'the topic',
    'spec.topic.replicationFactor': 'immutable',
    'spec.topic.config.*': 'the topic',
    'spec.topic.deadLetterRetentionHours': 'the failure topic',
    'spec.topic.deletionPolicy': 'the finalizer',
    'spec.registration.consul.datacenter': 'what stands in Consul',
    'spec.callbacks.giveUpAfterSeconds': WORKERS,
    'spec.callbacks.receivers[].network': WORKERS,
    'spec.callbacks.receivers[].secretRef.name': WORKERS,
    'spec.callbacks.receivers[].secretRef.key': WORKERS,
    'spec.callbacks.receivers[].caSecretRef.name': WORKERS,
    'spec.callbacks.receivers[].caSecretRef.key': WORKERS,
  },
  ConsumerGroup: {
    'spec.role': 'immutable',
    'spec.groupId': 'immutable',
    'spec.handler.protocol': 'has one value',
    'spec.scaling.minReplicas': 'how many workers there are, by what waits',
    'spec.scaling.maxReplicas': 'how many workers there are, by what waits',
    'spec.scaling.lagPerReplica': 'how many workers there are, by what waits',
    'spec.scaling.stabilizationSeconds': 'when there are fewer',
    'spec.scaling.wakeUpSeconds': 'what is reported',
  },
} as const
