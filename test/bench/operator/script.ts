/**
 * The bare script: what the operator writes for a CalculateService, to Kafka and to the API server, in the same order and
 * with the same concurrency, and nothing besides: no watch, no queue, no look at what is there, no decision. It is told what
 * to do, and that all goes well is taken for granted: whatever does not, ends it.
 */
import { KubeConfig } from '@kubernetes/client-node'
import type { CalculateService } from '../../../crds/types.ts'
import { proxyName, renderService, serviceAddress } from '../../../operator/calculateservice/objects.ts'
import {
  ANNOUNCED_TOPICS,
  announcementOf,
  TOPICS_FINALIZER,
} from '../../../operator/calculateservice/reconciliation.ts'
import { WRITTEN_FOR_SERVICES } from '../../../operator/calculateservice/controller.ts'
import { ApplyWriter } from '../../../operator/controller/apply.ts'
import { systemClock } from '../../../operator/controller/clock.ts'
import { identityOf, keyOf, objectKey } from '../../../operator/controller/object.ts'
import type { KubeObject } from '../../../operator/controller/object.ts'
import { RestClient } from '../../../operator/controller/rest-client.ts'
import { HttpTransport } from '../../../operator/controller/transport.ts'
import { FIELD_MANAGER } from '../../../operator/field-manager.ts'
import { KafkaTopicAdmin } from '../../../operator/kafka/topic-admin.ts'
import { desiredTopics } from '../../../operator/kafka/topics.ts'
import { CALCULATE_SERVICES, DEPLOYMENTS } from '../../../operator/kinds.ts'
import { ChildError, serve } from '../program.ts'

export type ScriptRequest =
  | {
      readonly type: 'Begin'
      readonly kubeconfig: string
      readonly brokers: readonly string[]
      readonly concurrency: number
      readonly sidecarImage: string
    }
  /** Answered at once. `stored` is what the API server answered the user. */
  | { readonly type: 'Create' | 'Change' | 'Delete'; readonly stored: CalculateService }
  /** Answered when all is done that it was told of, and when what the topics' ids are is known: a deletion names them. */
  | { readonly type: 'Rest' }

interface Parts {
  readonly writer: ApplyWriter
  readonly kafka: KafkaTopicAdmin
  readonly image: { readonly sidecarImage: string }
}

interface Made {
  readonly service: CalculateService
  readonly objects: { readonly proxies: readonly KubeObject[]; readonly ours: readonly KubeObject[] }
  readonly deploymentUid: string
}

type Job = Extract<ScriptRequest, { readonly stored: CalculateService }>

let parts: Parts | undefined
const made = new Map<string, Made>()
const topicIds = new Map<string, string>()
const jobs: Job[] = []
const takers: ((job: Job) => void)[] = []
let unfinished = 0
let failure: Error | undefined
let rested: () => void = () => undefined

serve<ScriptRequest, null>(async (request) => {
  switch (request.type) {
    case 'Begin':
      begin(request)
      break
    case 'Rest':
      await rest()
      break
    default:
      unfinished += 1
      jobs.push(request)
      handOut()
  }
  return null
})

function begin({ kubeconfig, brokers, concurrency, sidecarImage }: Extract<ScriptRequest, { type: 'Begin' }>): void {
  const config = new KubeConfig()
  config.loadFromFile(kubeconfig)
  const writer = new ApplyWriter({
    client: new RestClient({ transport: new HttpTransport(config), clock: systemClock }),
    resources: WRITTEN_FOR_SERVICES,
    fieldManager: FIELD_MANAGER,
    mayWrite: () => true,
  })
  parts = { writer, kafka: new KafkaTopicAdmin({ servers: brokers }), image: { sidecarImage } }
  for (let worker = 0; worker < concurrency; worker++) void work(parts)
}

async function rest(): Promise<void> {
  if (unfinished > 0) {
    await new Promise<void>((resolve) => {
      rested = resolve
    })
  }
  if (failure !== undefined) throw failure
  const unknown = [...made.values()].flatMap(({ service }) =>
    desiredTopics(service)
      .map(({ name }) => name)
      .filter((name) => !topicIds.has(name)),
  )
  for (let at = 0; at < unknown.length; at += 100) {
    const seen = await parts?.kafka.observe(unknown.slice(at, at + 100))
    for (const { name, id } of seen?.topics.values() ?? []) topicIds.set(name, id)
  }
}

async function work(own: Parts): Promise<never> {
  for (;;) {
    const job = await new Promise<Job>((resolve) => {
      takers.push(resolve)
      handOut()
    })
    try {
      await DOES[job.type](job.stored, own)
    } catch (error) {
      failure ??= error instanceof Error ? error : new ChildError(String(error))
    }
    unfinished -= 1
    if (unfinished === 0) rested()
  }
}

function handOut(): void {
  while (takers.length > 0) {
    const job = jobs.shift()
    if (job === undefined) return
    takers.shift()?.(job)
  }
}

const DOES: Readonly<Record<Job['type'], (service: CalculateService, own: Parts) => Promise<void>>> = {
  Create: create,
  Change: change,
  Delete: remove,
}

async function create(service: CalculateService, { writer, kafka, image }: Parts): Promise<void> {
  const key = objectKey(service)
  const topics = desiredTopics(service)
  const objects = objectsOf(service, image)
  const topicsPart = async (): Promise<void> => {
    const { resourceVersion = '' } = service.metadata
    await writer.setFinalizers(CALCULATE_SERVICES, key, resourceVersion, [TOPICS_FINALIZER])
    const names = topics.map(({ name }) => name)
    await writer.apply(announcement(service, names))
    for (const topic of topics) await kafka.execute({ type: 'CreateTopic', topic })
  }
  const [deployment] = await Promise.all([
    applyAll(writer, objects.proxies),
    applyAll(writer, objects.ours),
    topicsPart(),
  ])
  await writer.applyStatus(statusOf(service, 'TopicsReady'))
  await writer.apply(announcement(service, []))
  made.set(key, { service, objects, deploymentUid: deployment?.metadata.uid ?? '' })
}

async function change(service: CalculateService, { writer, kafka, image }: Parts): Promise<void> {
  const key = objectKey(service)
  const before = made.get(key)
  if (before === undefined) throw new ChildError(`${key} is to be changed, and was not made`)
  const objects = objectsOf(service, image)
  const known = new Set([...before.objects.proxies, ...before.objects.ours].map((object) => JSON.stringify(object)))
  const isNew = (object: KubeObject): boolean => !known.has(JSON.stringify(object))
  const grow = async (): Promise<void> => {
    const was = desiredTopics(before.service)
    for (const { name, partitions } of desiredTopics(service)) {
      const from = was.find((topic) => topic.name === name)?.partitions ?? 0
      if (from < partitions) await kafka.execute({ type: 'GrowTopic', name, from, to: partitions })
    }
  }
  await Promise.all([
    grow(),
    applyAll(writer, objects.proxies.filter(isNew)),
    applyAll(writer, objects.ours.filter(isNew)),
  ])
  await writer.applyStatus(statusOf(service, 'TopicsReady'))
  made.set(key, { ...before, service, objects })
}

async function remove({ metadata }: CalculateService, { writer, kafka }: Parts): Promise<void> {
  const key = keyOf(metadata.namespace, metadata.name)
  const known = made.get(key)
  if (known === undefined) throw new ChildError(`${key} is to be deleted, and was not made`)
  const { service, deploymentUid } = known
  await writer.delete(DEPLOYMENTS, keyOf(metadata.namespace, proxyName(service)), { uid: deploymentUid })
  const { resourceVersion = '' } = (await writer.applyStatus(statusOf(service, 'Deleting'))).metadata
  for (const { name } of desiredTopics(service)) {
    await kafka.execute({ type: 'DeleteTopic', name, topicId: topicIds.get(name) ?? '' })
    topicIds.delete(name)
  }
  await writer.setFinalizers(CALCULATE_SERVICES, key, resourceVersion, [])
  made.delete(key)
}

/** As the operator does: what the pods need stands before them, and the Service beside. */
function objectsOf(service: CalculateService, image: Parts['image']): Made['objects'] {
  const rendered = renderService(service, image)
  const { serviceAccount, configMap, deployment, podDisruptionBudget, service: kubeService } = rendered
  return {
    proxies: [serviceAccount, configMap, podDisruptionBudget, deployment],
    ours: kubeService === undefined ? [] : [kubeService],
  }
}

/** @returns what the last became. */
async function applyAll(writer: ApplyWriter, objects: readonly KubeObject[]): Promise<KubeObject | undefined> {
  let last: KubeObject | undefined
  for (const object of objects) last = await writer.apply(object)
  return last
}

const announcement = (service: CalculateService, names: readonly string[]): KubeObject => ({
  apiVersion: service.apiVersion,
  kind: service.kind,
  metadata: {
    ...identityOf(service),
    ...(names.length === 0 ? {} : { annotations: { [ANNOUNCED_TOPICS]: announcementOf(names, new Set()) } }),
  },
})

/** As long as what the operator writes. */
function statusOf(service: CalculateService, reason: string): KubeObject & { readonly status: object } {
  const { generation = 0 } = service.metadata
  const lastTransitionTime = new Date().toISOString().replace(/\.\d+/, '')
  return {
    apiVersion: service.apiVersion,
    kind: service.kind,
    metadata: identityOf(service),
    status: {
      observedGeneration: generation,
      conditions: ['Ready', 'TopicReady', 'ProxyAvailable', 'Registered'].map((type) => ({
        type,
        status: 'True',
        reason,
        message: 'as the operator would say it, in about as many words',
        observedGeneration: generation,
        lastTransitionTime,
      })),
      topics: desiredTopics(service).map(({ name, partitions, replicationFactor, config }) => ({
        name,
        topicId: '00000000-0000-0000-0000-000000000000',
        partitions,
        replicationFactor,
        origin: 'Created',
        config,
      })),
      clusterId: 'AAAAAAAAAAAAAAAAAAAAAA',
      proxy: { replicas: 0, readyReplicas: 0, updatedReplicas: 0 },
      address: serviceAddress(service) ?? '',
    },
  }
}
