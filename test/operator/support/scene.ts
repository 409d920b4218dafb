/** A route under test: a namespace with an operator, a topic of its own, and the three resources as a person applies them. */
import type { TestContext } from 'node:test'
import type { AuditMark } from '../../../local/platform/audit-log.ts'
import { KafkaTopicAdmin } from '../../../operator/kafka/topic-admin.ts'
import type { ObservedTopic } from '../../../operator/kafka/topic-plan.ts'
import { atEnd } from '../../integration/support/clean-up.ts'
import type { OurKind } from './kinds.ts'
import { playKubelet } from './kubelet.ts'
import { Namespace, type Condition } from './namespace.ts'
import { OperatorProcess, type OperatorOptions } from './operator-process.ts'
import { removeTopics } from './topics.ts'
import { until } from './until.ts'

/** Of the Kafka that all tests share. */
export const servers = (process.env['KAFKA_BROKERS'] ?? '').split(',')
/** Of each of the three resources where a test names no other. */
export const NAME = 'calc'
export const PROXY = 'calc-proxy'
export const WORKER = 'calc-worker'
export const PROXIES = 'app.kubernetes.io/component=proxy'
export const WORKERS = 'app.kubernetes.io/component=worker'

const GROUP = 'grpckafka.dev/v1alpha1'

export type Fields = Readonly<Record<string, unknown>>

export type SceneOptions = Partial<Pick<OperatorOptions, 'kubeconfig' | 'flags' | 'environment'>> & {
  /** Of which pods somebody plays the kubelet: a selector, '' (all of them) where it is not said; undefined: of none. */
  readonly kubelet?: string | undefined
  /** One of the shared cluster, made for it, where it is not said. */
  readonly namespace?: Namespace
}

type Asked = { readonly name?: string; readonly says?: string }

export class Scene {
  readonly namespace: Namespace
  readonly topics: KafkaTopicAdmin
  /** The calls' topic; tests that need more begin their names with it. All of them go with the test. */
  readonly topic: string
  readonly #options: SceneOptions
  readonly #t: TestContext
  #operator: OperatorProcess | undefined

  private constructor(t: TestContext, namespace: Namespace, topics: KafkaTopicAdmin, options: SceneOptions) {
    this.#t = t
    this.namespace = namespace
    this.topics = topics
    this.topic = `operator-${namespace.name}`
    this.#options = options
  }

  static async start(t: TestContext, options: SceneOptions = {}): Promise<Scene> {
    const scene = await Scene.withoutOperator(t, options)
    await scene.startOperator()
    return scene
  }

  /** With nobody who looks at the resources yet. */
  static async withoutOperator(t: TestContext, options: SceneOptions = {}): Promise<Scene> {
    const topics = new KafkaTopicAdmin({ servers })
    atEnd(t, () => topics.close())
    const namespace = options.namespace ?? (await Namespace.start(t))
    const scene = new Scene(t, namespace, topics, options)
    atEnd(t, () => removeTopics(servers, scene.topic))
    const kubelet = 'kubelet' in options ? options.kubelet : ''
    if (kubelet !== undefined) playKubelet(t, namespace, kubelet)
    return scene
  }

  /** The operator that was started last. */
  get operator(): OperatorProcess {
    if (this.#operator === undefined) throw new Error('no operator was started')
    return this.#operator
  }

  /** Another one, beside any that runs, with the scene's options and then these. */
  async startOperator(options: Partial<OperatorOptions> = {}): Promise<OperatorProcess> {
    this.#operator = await OperatorProcess.start(this.#t, {
      program: 'operator/main.ts',
      kubeconfig: this.#options.kubeconfig ?? this.namespace.cluster.access.adminKubeconfig,
      namespace: this.namespace.name,
      ...(this.#options.environment !== undefined && { environment: this.#options.environment }),
      ...options,
      flags: { ...this.#options.flags, ...options.flags },
    })
    return this.#operator
  }

  /** Applies the service with these fields beside the least that it must say; those of its topic are merged. */
  async applyService(spec: Fields = {}, name = NAME): Promise<void> {
    await this.namespace.apply({
      apiVersion: GROUP,
      kind: 'CalculateService',
      metadata: { name },
      spec: {
        service: 'calculator.CalculateService',
        kafka: { bootstrapServers: servers },
        redis: { url: 'redis://redis:6379' },
        methods: [{ name: 'Calculate', timeoutMilliseconds: 30_000 }],
        ...spec,
        topic: { name: this.topic, replicationFactor: 1, ...(spec['topic'] as object | undefined) },
      },
    })
  }

  async applyGroup(spec: Fields = {}, name = NAME): Promise<void> {
    await this.namespace.apply({
      apiVersion: GROUP,
      kind: 'ConsumerGroup',
      metadata: { name },
      spec: {
        calculateServiceRef: { name: NAME },
        groupId: `${this.namespace.name}-${name}`,
        handler: { port: 50051 },
        template: { spec: { containers: [{ name: 'handler', image: 'calculator:1' }] } },
        ...spec,
      },
    })
  }

  async applyPolicy(spec: Fields = {}, name = NAME): Promise<void> {
    await this.namespace.apply({ apiVersion: GROUP, kind: 'RetryPolicy', metadata: { name }, spec })
  }

  /** Those that are about the spec as it is now. */
  async conditions(kind: OurKind, name = NAME): Promise<readonly Condition[]> {
    const { metadata, status } = (await this.namespace.get(kind, name)) ?? {}
    const conditions = (status?.['conditions'] ?? []) as readonly Condition[]
    return conditions.filter(({ observedGeneration }) => observedGeneration === metadata?.generation)
  }

  /**
   * Waits for a condition that is about the spec as it is now.
   * @param asked.says  what its message has in it: a status is written after what it tells of
   */
  async untilReason(
    kind: OurKind,
    type: string,
    reason: string,
    { name = NAME, says = '' }: Asked = {},
  ): Promise<Condition> {
    let last: readonly Condition[] = []
    return until(`${type} of ${kind} ${name} is ${reason} ${says}`, async () => {
      last = await this.conditions(kind, name)
      return last.find((one) => one.type === type && one.reason === reason && one.message.includes(says))
    }).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(last)}`, { cause: error })
    })
  }

  /** Ready for what the spec says now. */
  async untilReady(kind: OurKind, name = NAME): Promise<void> {
    await this.untilReason(kind, 'Ready', kind === 'RetryPolicy' ? 'InUse' : 'Ready', { name })
  }

  async statusOf(kind: OurKind, name = NAME): Promise<Fields> {
    return (await this.namespace.get(kind, name))?.status ?? {}
  }

  async replicas(): Promise<unknown> {
    return (await this.namespace.get('Deployment', WORKER))?.spec?.['replicas']
  }

  untilReplicas(count: number): Promise<unknown> {
    return until(`there are to be ${count} workers`, async () => (await this.replicas()) === count)
  }

  /** Waits until the operator has looked at this object so often more. */
  untilLookedAt(kind: OurKind, times: number, name = NAME): Promise<void> {
    return this.operator.untilReconciled(`${this.namespace.name}/${name}`, times, kind.toLowerCase())
  }

  /** What the operator wrote, Leases and events aside. */
  writesSince(mark: AuditMark): Promise<readonly string[]> {
    return this.namespace.operatorWrites(mark, ['leases', 'events'])
  }

  async topicNow(name = this.topic): Promise<ObservedTopic | undefined> {
    return (await this.topics.observe([name])).topics.get(name)
  }
}

/** The whole route is there and ready. */
export async function readyRoute(t: TestContext, group: Fields = {}, options: SceneOptions = {}): Promise<Scene> {
  const scene = await Scene.start(t, options)
  await scene.applyService()
  await scene.applyGroup(group)
  await scene.untilReady('ConsumerGroup')
  return scene
}
