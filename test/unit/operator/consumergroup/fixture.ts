/** A ConsumerGroup with all that it needs, as the API server would have it, for tests to change one thing of. */
import assert from 'node:assert/strict'
import type { CalculateService, ConsumerGroup, Resource, RetryPolicy } from '../../../../crds/types.ts'
import { validateResource } from '../../../../crds/validate.ts'
import type { KubeObject } from '../../../../operator/controller/object.ts'
import { renderGroup } from '../../../../operator/consumergroup/objects.ts'
import type { Observed } from '../../../../operator/consumergroup/observed.ts'
import type { Deployment } from '../../../../operator/kinds.ts'
import { resource } from '../../crds/cases.ts'
import type { Case } from '../../crds/cases.ts'

export const T0 = Date.UTC(2026, 0, 1)
export const IMAGE = { sidecarImage: 'sidecar:1' }

function stored<Kind extends Resource['kind']>(kind: Kind, put: Case['put']): Extract<Resource, { kind: Kind }> {
  const result = validateResource(resource(kind, put))
  assert.ok(result.ok, result.ok ? '' : result.problems.join('\n'))
  const metadata = {
    namespace: 'team',
    uid: `uid-of-${result.resource.metadata.name}`,
    generation: 1,
    resourceVersion: '7',
    creationTimestamp: '2025-12-01T00:00:00Z',
    finalizers: kind === 'ConsumerGroup' ? ['grpckafka.dev/drain'] : [],
    ...result.resource.metadata,
  }
  return { ...result.resource, metadata } as Extract<Resource, { kind: Kind }>
}

export const aGroup = (put: Case['put'] = {}): ConsumerGroup => stored('ConsumerGroup', put)
export const aPolicy = (put: Case['put'] = {}): RetryPolicy => stored('RetryPolicy', put)

/** With its topic. */
export const aService = (put: Case['put'] = {}): CalculateService => {
  const service = stored('CalculateService', put)
  const { name } = service.spec.topic
  return {
    ...service,
    status: {
      topics: [{ name, topicId: 'a', partitions: 6, origin: 'Created' }],
      conditions: [
        {
          type: 'TopicReady',
          status: 'True',
          reason: 'TopicsReady',
          message: '',
          lastTransitionTime: '2026-01-01T00:00:00Z',
        },
      ],
      ...service.status,
    },
  }
}

/** The objects as the operator applied them, with so many workers of which so many are ready. */
export function liveObjects(
  group: ConsumerGroup,
  service: CalculateService,
  { replicas, ready = replicas }: { readonly replicas: number; readonly ready?: number },
) {
  const { serviceAccount, configMap, deployment } = renderGroup({ group, service, replicas }, IMAGE)
  const there = <T extends KubeObject>(object: KubeObject): T =>
    ({ ...object, metadata: { ...object.metadata, uid: `uid-of-${object.kind}`, generation: 1 } }) as T
  return {
    ...(serviceAccount === undefined ? {} : { serviceAccount: there(serviceAccount) }),
    configMap: there(configMap),
    deployment: {
      ...there<Deployment>(deployment),
      status: { observedGeneration: 1, replicas, updatedReplicas: replicas, readyReplicas: ready },
    },
  }
}

/** All is well: what was applied is there, and its one worker is ready. */
export function observed(changes: Partial<Observed> = {}): Observed {
  const group = changes.group ?? aGroup()
  const service = 'service' in changes ? changes.service : aService()
  return {
    group,
    service,
    missingSecrets: [],
    rivals: [{ group, service }],
    live: liveObjects(group, service ?? aService(), { replicas: group.spec.replicas }),
    autoscalers: [],
    proxyPods: [],
    reading: { known: true, lag: 0, members: 1 },
    advice: [],
    now: T0,
    image: IMAGE,
    ...changes,
  }
}
