/** Of two operators one writes, whatever becomes of the other. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ApiRelay } from './support/api-relay.ts'
import { sharedCluster } from './support/cluster.ts'
import { HttpRelay, type RelayedRequest } from './support/http-relay.ts'
import { changesTopics, KafkaRelay } from './support/kafka-relay.ts'
import type { OperatorProcess } from './support/operator-process.ts'
import { NAME, Scene, servers } from './support/scene.ts'
import { until } from './support/until.ts'

const KIND = 'CalculateService'

/** So that a test sees a lease run out soon; a busy machine has as long to renew it as with the defaults. */
const SHORT_LEASE = {
  'leader-elect-lease-seconds': 12,
  'leader-elect-renew-deadline-seconds': 10,
  'leader-elect-retry-seconds': 1,
}

const untilLeads = (operator: OperatorProcess): Promise<unknown> =>
  until(`${operator.name} leads`, () => operator.said('leading') === 1)

const isLease = ({ path }: RelayedRequest): boolean => path.includes('/leases')

// They wait, most of the time.
describe('two operators', { concurrency: 2 }, () => {
  test('a leader that is frozen past its lease, with changes in hand, writes nowhere any more and ends', async (t) => {
    const [api, kafka, consul] = await Promise.all([
      ApiRelay.start(t, sharedCluster()),
      KafkaRelay.start(t, servers[0] ?? ''),
      HttpRelay.plain(t, process.env['CONSUL_HTTP_ADDR'] ?? ''),
    ])
    const scene = await Scene.withoutOperator(t, { flags: SHORT_LEASE })
    const first = await scene.startOperator({ name: 'first', kubeconfig: api.kubeconfig })
    await untilLeads(first)
    const second = await scene.startOperator({ name: 'second' })
    /** A setting of the topic, tags in Consul and a port in the objects: each is written somewhere else. */
    const apply = (version: number): Promise<void> =>
      scene.applyService({
        kafka: { bootstrapServers: [kafka.address] },
        topic: { config: { 'max.message.bytes': String(5_000_000 + version) } },
        registration: { consul: { address: consul.url, tags: [`version-${version}`] } },
        proxy: { port: 7000 + version },
      })
    await apply(1)
    await scene.untilReady(KIND)
    await scene.untilReason(KIND, 'Registered', 'Registered', { says: '1 passing' })

    // It has seen the second version, and waits for Kafka's word on the topics.
    const held = kafka.hold((request) => request === 'DescribeConfigs')
    const asked = kafka.requests.length
    await apply(2)
    await until('the first asks Kafka', () => kafka.requests.slice(asked).includes('DescribeConfigs'))
    await held.met
    first.kill('SIGSTOP')
    await untilLeads(second)
    held.release()
    await apply(3)
    await scene.untilReady(KIND)
    await scene.untilReason(KIND, 'Registered', 'Registered', { says: '1 passing' })
    const topic = await scene.topicNow()
    assert.equal(topic?.config['max.message.bytes']?.value, '5000003')

    // It cannot learn at once that another leads.
    const cut = api.reply(isLease, 'cut')
    const before = { api: api.requests.length, consul: consul.requests.length, kafka: kafka.requests.length }
    const reconciled = first.said('reconciled')
    first.kill('SIGCONT')
    await until('its reconcile has ended', () => first.said('reconciled') > reconciled)
    cut.takeBack()
    assert.deepEqual(await first.exited, { code: 1, signal: null })
    const isChange = (one: RelayedRequest): boolean => one.method !== 'GET' && !isLease(one)
    assert.deepEqual(api.requests.slice(before.api).filter(isChange), [])
    // Both go there through the one relay.
    const ofTheFirst = consul.requests.filter(({ userAgent }) => userAgent === 'grpc-kafka-operator (first)')
    assert.ok(ofTheFirst.some(isChange), 'the first has written to Consul before')
    assert.deepEqual(
      consul.requests.slice(before.consul).filter((one) => ofTheFirst.includes(one) && isChange(one)),
      [],
    )
    assert.deepEqual(kafka.requests.slice(before.kafka).filter(changesTopics), [])
    assert.deepEqual((await scene.topicNow())?.config, topic.config)
    assert.equal(first.said('gave the lease back'), 0)
    assert.equal(second.exit, undefined)
  })

  test('a leader that ends in order is followed at once', async (t) => {
    const scene = await Scene.start(t)
    const first = scene.operator
    await untilLeads(first)
    const second = await scene.startOperator({ name: 'second' })
    await until('the second is ready', async () => (await second.probe('/readyz')).status === 200)
    first.kill('SIGTERM')
    assert.deepEqual(await first.exited, { code: 0, signal: null })
    const began = performance.now()
    await untilLeads(second)
    const milliseconds = performance.now() - began
    t.diagnostic(`${Math.round(milliseconds)} ms`)
    // It asks again after at most 2.2 times two seconds; a lease that was not given back would hold for fifteen.
    assert.ok(milliseconds < 10_000, `the second led after ${milliseconds} ms`)
    await scene.applyService()
    await scene.untilReady(KIND, NAME)
  })
})
