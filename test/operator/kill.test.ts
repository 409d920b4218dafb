/**
 * Operators that are killed right behind the first thing that each of them changes, at the API server, at Kafka or in
 * Consul, and before it has the answer: step by step they come to the same end as one that lives on.
 */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { ApiRelay } from './support/api-relay.ts'
import { sharedCluster } from './support/cluster.ts'
import { instancesOf } from './support/consul.ts'
import { endState } from './support/end-state.ts'
import { HttpRelay, type RelayedRequest } from './support/http-relay.ts'
import { changesTopics, KafkaRelay } from './support/kafka-relay.ts'
import { OUR_KINDS } from './support/kinds.ts'
import { NAME, Scene, servers } from './support/scene.ts'
import { until } from './support/until.ts'

const consulUrl = process.env['CONSUL_HTTP_ADDR'] ?? ''

/** Events and the lease may be lost. */
const isChange = ({ method, path }: RelayedRequest): boolean => method !== 'GET' && !/\/(leases|events)\b/.test(path)

/** A route whose operators reach everything through relays. */
class Route {
  readonly scene: Scene
  readonly kafka: KafkaRelay
  readonly #api: ApiRelay
  readonly #consul: HttpRelay
  #operators = 0

  private constructor(scene: Scene, api: ApiRelay, kafka: KafkaRelay, consul: HttpRelay) {
    this.scene = scene
    this.kafka = kafka
    this.#api = api
    this.#consul = consul
  }

  static async start(t: TestContext): Promise<Route> {
    const [api, kafka, consul] = await Promise.all([
      ApiRelay.start(t, sharedCluster()),
      KafkaRelay.start(t, servers[0] ?? ''),
      HttpRelay.plain(t, consulUrl),
    ])
    return new Route(await Scene.withoutOperator(t), api, kafka, consul)
  }

  async startOperator(): Promise<void> {
    this.#operators += 1
    const name = `operator-${this.#operators}`
    // Each asks for a lease of its own: that of one that was killed would have to run out.
    await this.scene.startOperator({ kubeconfig: this.#api.kubeconfig, name, flags: { 'leader-elect-id': name } })
  }

  async apply(): Promise<void> {
    await this.scene.applyPolicy()
    await this.scene.applyService({
      kafka: { bootstrapServers: [this.kafka.address] },
      topic: { deletionPolicy: 'Delete' },
      registration: { consul: { address: this.#consul.url } },
    })
    await this.scene.applyGroup({ retryPolicyRef: { name: NAME } })
  }

  async delete(): Promise<void> {
    for (const kind of OUR_KINDS) await this.scene.namespace.delete(kind, NAME)
  }

  /**
   * Starts one operator after the other, and kills each when the first thing that it changes is done, until there is nothing
   * left to change. The last one lives on. Answers what the others began to change.
   */
  async killOnAndOn(isDone: () => Promise<boolean>): Promise<readonly string[]> {
    const changes: string[] = []
    for (;;) {
      const before = [this.#api, this.#consul, this.kafka].map(({ requests }) => requests.length)
      const rules = [this.#api, this.#consul].map((relay) => relay.reply(isChange, 'hold the answer'))
      const atKafka = this.kafka.hold(changesTopics)
      let isHeld = false
      for (const { met } of [...rules, atKafka]) void met.then(() => (isHeld = true))
      await this.startOperator()
      await until('a change, or that there is none', async () => isHeld || (await isDone()))
      for (const rule of rules) rule.takeBack()
      atKafka.release()
      if (!isHeld) return changes
      await this.kill()
      changes.push(...this.#changesSince(before))
    }
  }

  async kill(): Promise<void> {
    this.scene.operator.kill('SIGKILL')
    await this.scene.operator.exited
  }

  /** @param before how many requests the API server, Consul and Kafka had had */
  #changesSince([api, consul, kafka]: readonly number[]): readonly string[] {
    const called = [...this.#api.requests.slice(api), ...this.#consul.requests.slice(consul)]
    return [
      ...called.filter(isChange).map((request) => `${request.method} ${pathOf(request)}`),
      ...this.kafka.requests.slice(kafka).filter(changesTopics),
    ]
  }

  async isSettled(): Promise<boolean> {
    const [service, group, policy] = await Promise.all(OUR_KINDS.map((kind) => this.scene.conditions(kind, NAME)))
    const isReady = [service, group, policy].every((conditions) =>
      conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
    )
    if (!isReady) return false
    const { metadata } = (await this.scene.namespace.get('CalculateService', NAME))!
    const { lag } = await this.scene.statusOf('ConsumerGroup')
    const isAnnounced = metadata.annotations?.['grpckafka.dev/announced-topics'] !== undefined
    return !isAnnounced && lag === 0 && (await instancesOf(this.scene.namespace)).length === 1
  }

  async isGone(): Promise<boolean> {
    const left = await Promise.all(OUR_KINDS.map((kind) => this.scene.namespace.get(kind, NAME)))
    return left.every((object) => object === undefined)
  }

  state(): Promise<object> {
    return endState(this.scene, [this.kafka.address, this.#consul.url])
  }
}

/** `calculateservices/calc/status` */
const pathOf = ({ path }: RelayedRequest): string =>
  path.split('?', 1)[0]!.replace(/^.*\/namespaces\/[^/]+\/|^\/v1\//, '')

test('operators that are killed behind each step make a route and delete it like one that lives', async (t) => {
  const undisturbed = await Route.start(t)
  await undisturbed.startOperator()
  await undisturbed.apply()
  await until('it is settled', () => undisturbed.isSettled())

  const route = await Route.start(t)
  await route.apply()
  const made = await route.killOnAndOn(() => route.isSettled())
  t.diagnostic(`made: ${made.join(', ')}`)
  assert.deepEqual(await route.state(), await undisturbed.state())
  assert.ok(!route.kafka.requests.includes('DeleteTopics'), 'a topic was deleted and made again')
  for (const step of ['CreateTopics', 'PUT catalog/register', 'PATCH deployments/calc-worker']) {
    assert.ok(made.includes(step), `${step} in ${made.join(', ')}`)
  }

  await route.kill()
  await route.delete()
  const deleted = await route.killOnAndOn(() => route.isGone())
  t.diagnostic(`deleted: ${deleted.join(', ')}`)
  assert.equal(await route.scene.topicNow(), undefined)
  assert.equal(await route.scene.topicNow(`${route.scene.topic}.dead`), undefined)
  assert.deepEqual(await instancesOf(route.scene.namespace), [])
  for (const step of ['DeleteTopics', 'PUT catalog/deregister', 'DELETE deployments/calc-proxy']) {
    assert.ok(deleted.includes(step), `${step} in ${deleted.join(', ')}`)
  }
})
