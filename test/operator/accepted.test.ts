/**
 * Resources that the API server takes and that are wrong in ways which only the operator sees, or Kafka, Consul or a Deployment:
 * each is told of with the field or the object, no neighbour is hurt, and the operator goes on, at its ease. What the
 * definitions refuse is in crds.test.ts.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { ConditionWatch } from './support/condition-watch.ts'
import {
  applyGoodRoute,
  applyObserver,
  applyOneService,
  GOOD,
  keepSecret,
  templateWith,
  topicOf,
} from './support/crowd.ts'
import type { OurKind } from './support/kinds.ts'
import { Scene, servers, type Fields } from './support/scene.ts'
import { until } from './support/until.ts'

/** What is to be told of a resource, and which. */
interface Told {
  readonly type: string
  readonly reason: string
  readonly says: string
}

interface Row {
  readonly what: string
  readonly kind: OurKind
  readonly does: (scene: Scene, name: string) => Promise<unknown>
  readonly told: Told
}

const told = (type: string, reason: string, says = ''): Told => ({ type, reason, says })

const service = (what: string, spec: Fields, is: Told): Row => ({
  what,
  kind: 'CalculateService',
  does: (scene, name) => applyOneService(scene, name, spec),
  told: is,
})

async function serviceWithTopics(scene: Scene, name: string, spec: Fields = {}): Promise<void> {
  await applyOneService(scene, name, spec)
  await scene.untilReason('CalculateService', 'TopicReady', 'TopicsReady', { name })
}

const group = (what: string, spec: Fields, is: Told): Row => ({
  what,
  kind: 'ConsumerGroup',
  does: (scene, name) => applyObserver(scene, name, { replicas: 0, ...spec }),
  told: is,
})

const notApplied = (says: string): Told => told('WorkersAvailable', 'NotApplied', says)
const takenAsItIs = told('WorkersAvailable', 'NoWorkers', 'spec.replicas is 0')
const noProxies = told('ProxyAvailable', 'ScaledToZero', 'spec.proxy.replicas is 0')
const kafkaAway = (says: string): Told => told('TopicReady', 'KafkaUnavailable', says)

const template = (what: string, container: Fields, says: string): Row =>
  group(what, { template: templateWith(container) }, notApplied(says))
const pod = (what: string, spec: Fields, is: Told): Row =>
  group(what, { template: { spec: { containers: [{ name: 'handler', image: 'a:1' }], ...spec } } }, is)
const proxyPod = (what: string, spec: Fields, says: string): Row =>
  service(what, { proxy: { replicas: 0, template: { spec } } }, told('ProxyAvailable', 'NotApplied', says))
const bootstrap = (server: string): Row =>
  service(`a bootstrap server ${server}`, { kafka: { bootstrapServers: [server] } }, kafkaAway(server))
const consul = (address: string, reason: string): Row =>
  service(`a Consul at ${address}`, { registration: { consul: { address } } }, told('Registered', reason, address))

/** A Secret with this value is there, and the service refers to it. */
const secret = (what: string, value: string | Buffer, spec: (key: Fields) => Fields, is: Told): Row => ({
  what,
  kind: 'CalculateService',
  does: async (scene, name) => {
    await keepSecret(scene, name, value)
    await applyOneService(scene, name, spec({ name, key: 'value' }))
  },
  told: is,
})

const withCa = (caSecretRef: Fields): Fields => ({ kafka: { bootstrapServers: servers, tls: { caSecretRef } } })
const withPassword = (passwordSecretRef: Fields): Fields => ({
  kafka: { bootstrapServers: servers, sasl: { mechanism: 'SCRAM-SHA-256', username: 'ü', passwordSecretRef } },
})
const consulUrl = process.env['CONSUL_HTTP_ADDR'] ?? ''
const withToken = (tokenSecretRef: Fields): Fields => ({
  registration: { consul: { address: consulUrl, tokenSecretRef } },
})

/** Somebody writes a status by hand, as an administrator may. */
const writeStatus = (scene: Scene, kind: OurKind, name: string, status: Fields): Promise<unknown> =>
  scene.namespace.changeStatus(kind, name, status)

const junkStatus = {
  observedGeneration: 999,
  clusterId: '🦊',
  topics: [{ name: '../🦊', topicId: 'junk', partitions: 999_999, origin: 'Created', config: { '': '' } }],
  proxy: { replicas: 7, readyReplicas: 7, updatedReplicas: 7 },
  address: 'nowhere',
  conditions: [
    {
      type: 'Ready',
      status: 'True',
      reason: 'Junk',
      message: '🦊',
      lastTransitionTime: '1970-01-01T00:00:00Z',
      observedGeneration: 999,
    },
  ],
}

const SPREAD = { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }
const LONG_NAME = `a.b-${'c'.repeat(249)}`
const BINARY = Buffer.from(Array.from({ length: 256 }, (_byte, index) => 255 - index))

const ROWS: readonly Row[] = [
  template('a volume that is not there', { volumeMounts: [{ name: 'data', mountPath: '/a' }] }, 'volumeMounts[0].name'),
  template('a handler without an image', { image: undefined }, 'containers[0].image: Required value'),
  template('a quantity that is none', { resources: { limits: { cpu: 'lots' } } }, 'quantities must match'),
  template('more requested than allowed', { resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } }, 'requests'),
  template('an environment that is none', { envFrom: 'text' }, 'envFrom'),
  template(
    'one port twice',
    { ports: [{ containerPort: 1 }, { containerPort: 1 }] },
    'duplicate entries for key [containerPort=1,protocol="TCP"]',
  ),
  template('a port that is none', { ports: [{ containerPort: 70_000 }] }, 'ports[0].containerPort'),
  template('a field that Pods have not', { nonsense: 1 }, 'nonsense'),
  template('a probe of two kinds', { livenessProbe: { tcpSocket: { port: 1 }, grpc: { port: 1 } } }, 'livenessProbe'),
  pod(
    "a container of the sidecar's name",
    { containers: [{ name: 'grpc-kafka-worker', image: 'a:1' }] },
    notApplied('Duplicate value: "grpc-kafka-worker"'),
  ),
  pod('a name of a container that is none', { containers: [{ name: 'Ä', image: 'a:1' }] }, notApplied('name')),
  pod(
    "a volume of the sidecar's name",
    { volumes: [{ name: 'grpc-kafka-config', emptyDir: {} }] },
    notApplied('grpc-kafka-config'),
  ),
  pod('a Pod that is not started again', { restartPolicy: 'Never' }, notApplied('restartPolicy: Unsupported value')),
  pod('a Pod with a deadline', { activeDeadlineSeconds: 5 }, notApplied('activeDeadlineSeconds')),
  pod('a ServiceAccount that is a number', { serviceAccountName: 5 }, notApplied('serviceAccountName')),
  pod('a ServiceAccount that is not there', { serviceAccountName: 'not-there' }, takenAsItIs),
  pod('the network of the node', { hostNetwork: true }, takenAsItIs),
  group(
    'labels that the operator needs',
    {
      template: {
        metadata: { labels: { 'grpckafka.dev/group': 'other', 'app.kubernetes.io/component': 'proxy' } },
        ...templateWith({}),
      },
    },
    takenAsItIs,
  ),
  group(
    'a label that is none',
    { template: { metadata: { labels: { team: 'not a label 🦊' } }, ...templateWith({}) } },
    notApplied('labels'),
  ),
  group(
    'values that are not English',
    { template: templateWith({ env: [{ name: 'A', value: '🦊ü\n' }] }) },
    takenAsItIs,
  ),
  group(
    'a name of a service that no service can have',
    { calculateServiceRef: { name: 'Nö/../x' } },
    {
      type: 'ReferencesResolved',
      reason: 'ServiceNotFound',
      says: 'spec.calculateServiceRef: there is no CalculateService Nö/../x',
    },
  ),
  group(
    'a name of a policy that no policy can have',
    { retryPolicyRef: { name: '../🦊' } },
    {
      type: 'ReferencesResolved',
      reason: 'PolicyNotFound',
      says: 'spec.retryPolicyRef: there is no RetryPolicy ../🦊',
    },
  ),
  {
    what: 'a policy with dots in a name of 253 characters',
    kind: 'RetryPolicy',
    does: async (scene, name) => {
      await scene.applyPolicy({}, LONG_NAME)
      await applyObserver(scene, name, { replicas: 0, retryPolicyRef: { name: LONG_NAME } })
      await until('it is in use', async () => (await scene.statusOf('RetryPolicy', LONG_NAME))['consumerGroups'])
      await scene.applyPolicy({}, name)
    },
    told: told('Ready', 'NotUsed'),
  },
  {
    what: 'a group of a service that is being deleted and held by somebody',
    kind: 'ConsumerGroup',
    does: async (scene, name) => {
      await serviceWithTopics(scene, name)
      await hold(scene, 'CalculateService', name)
      await applyObserver(scene, name, { calculateServiceRef: { name }, replicas: 0 })
    },
    told: takenAsItIs,
  },
  {
    what: 'a status of a group that was written by hand',
    kind: 'ConsumerGroup',
    does: async (scene, name) => {
      await applyObserver(scene, name, { replicas: 0 })
      await scene.untilReason('ConsumerGroup', 'WorkersAvailable', 'NoWorkers', { name })
      await writeStatus(scene, 'ConsumerGroup', name, {
        observedGeneration: 999,
        lag: 2_000_000_000,
        members: 7,
        desiredReplicas: 1000,
        selector: '🦊',
        conditions: junkStatus.conditions,
      })
      await until('it tells the truth again', async () => {
        const status = await scene.statusOf('ConsumerGroup', name)
        return status['observedGeneration'] !== 999 && status['lag'] === 0
      })
    },
    told: takenAsItIs,
  },

  service(
    "Kafka's own topic settings, one of which is none",
    { topic: { config: { '🦊': 'ü' } } },
    {
      type: 'TopicReady',
      reason: 'TopicRefused',
      says: '🦊',
    },
  ),
  service('a setting without a name', { topic: { config: { '': 'a' } } }, told('TopicReady', 'TopicRefused', 'topic')),
  service(
    'a setting that is no number',
    { topic: { config: { 'retention.ms': '١٢٣' } } },
    told('TopicReady', 'TopicSettingsRefused', 'spec.topic.config["retention.ms"]: must be an integer'),
  ),
  service(
    'a setting that Kafka does not take',
    { topic: { config: { 'segment.ms': '-5' } } },
    told('TopicReady', 'TopicRefused', 'segment.ms'),
  ),
  {
    what: 'a topic on which another service wrote first',
    kind: 'CalculateService',
    does: (scene, name) => applyOneService(scene, name, { topic: { name: topicOf(scene, GOOD) } }),
    told: told('TopicReady', 'TopicConflict', `/${GOOD}, which is older`),
  },
  bootstrap('127.0.0.1:0'),
  bootstrap('127.0.0.1:99999'),
  bootstrap('[::1]:1'),
  bootstrap('[:::::]:1'),
  bootstrap('..:1'),
  bootstrap('-:1'),
  bootstrap('not-there.invalid:9092'),
  {
    what: 'a bootstrap server that speaks another protocol',
    kind: 'CalculateService',
    does: (scene, name) => applyOneService(scene, name, { kafka: { bootstrapServers: [new URL(consulUrl).host] } }),
    told: kafkaAway(new URL(consulUrl || 'http://none').host),
  },
  secret(
    "a Kafka's authority that is no certificate",
    'no certificate',
    withCa,
    told('TopicReady', 'KafkaNotAuthorized', 'spec.kafka.tls'),
  ),
  secret(
    "a Kafka's authority that is binary",
    BINARY,
    withCa,
    told('TopicReady', 'KafkaNotAuthorized', 'spec.kafka.tls'),
  ),
  secret(
    'an empty password',
    '',
    withPassword,
    told('TopicReady', 'SecretMissing', 'spec.kafka.sasl.passwordSecretRef'),
  ),
  secret(
    'a password of 500 kB',
    'x'.repeat(500_000),
    withPassword,
    told('TopicReady', 'KafkaNotAuthorized', servers[0]),
  ),
  secret('a token with a line break', 'a\nb', withToken, told('Registered', 'ConsulNotAuthorized', consulUrl)),
  secret('a token that is binary', BINARY, withToken, told('Registered', 'ConsulNotAuthorized', consulUrl)),
  consul('http://127.0.0.1:99999', 'ConsulUnavailable'),
  consul('http://..:1', 'ConsulUnavailable'),
  consul('http://not-there.invalid', 'ConsulUnavailable'),
  consul(`http://${servers[0]}`, 'ConsulUnavailable'),
  service(
    'a node selector that is none',
    { proxy: { replicas: 0, template: { spec: { nodeSelector: { 'a b': 'c' } } } } },
    told('ProxyAvailable', 'NotApplied', 'nodeSelector'),
  ),
  proxyPod('a toleration of two minds', { tolerations: [{ key: 'a', operator: 'Exists', value: 'b' }] }, 'tolerations'),
  proxyPod('an affinity that is none', { affinity: { nonsense: 1 } }, 'affinity'),
  proxyPod(
    'a spread over no places',
    { topologySpreadConstraints: [{ ...SPREAD, minDomains: 0 }] },
    'topologySpreadConstraints',
  ),
  service(
    'labels that are none',
    { proxy: { replicas: 0, template: { metadata: { labels: { 'ü b': 'not a label' } } } } },
    told('ProxyAvailable', 'NotApplied', 'labels'),
  ),
  service(
    'labels that the operator needs',
    { proxy: { replicas: 0, template: { metadata: { labels: { 'grpckafka.dev/service': 'other' } } } } },
    noProxies,
  ),
  service(
    'more requested than allowed',
    { proxy: { replicas: 0, resources: { requests: { cpu: '2' }, limits: { cpu: '1' } } } },
    told('ProxyAvailable', 'NotApplied', 'requests'),
  ),
  service(
    'a resource that is none',
    { proxy: { replicas: 0, resources: { limits: { 'a b': '1' } } } },
    told('ProxyAvailable', 'NotApplied', 'resources.limits'),
  ),
  service(
    'a priority that is not there',
    { proxy: { replicas: 1, template: { spec: { priorityClassName: 'not-there' } } } },
    told('ProxyAvailable', 'ProxiesRollingOut', 'no PriorityClass with name not-there'),
  ),
  service(
    'a key of a Secret that leads out of it',
    { redis: { urlSecretRef: { name: 'redis', key: '..' } } },
    told('ProxyAvailable', 'NotApplied', 'spec.redis.urlSecretRef'),
  ),
  {
    what: 'an announcement that was written by hand',
    kind: 'CalculateService',
    does: async (scene, name) => {
      await applyOneService(scene, name, { topic: { deletionPolicy: 'Delete' } })
      const annotations = { 'grpckafka.dev/announced-topics': ',,!!,!🦊,../x,__consumer_offsets' }
      await scene.namespace.change('CalculateService', name, { metadata: { annotations } })
      await until('it is put right', async () => {
        const { metadata } = (await scene.namespace.get('CalculateService', name)) ?? {}
        return metadata !== undefined && metadata.annotations?.['grpckafka.dev/announced-topics'] === undefined
      })
    },
    told: told('TopicReady', 'TopicsReady'),
  },
  {
    what: 'a status of a service that was written by hand',
    kind: 'CalculateService',
    does: async (scene, name) => {
      await serviceWithTopics(scene, name, { topic: { deletionPolicy: 'Delete' } })
      await writeStatus(scene, 'CalculateService', name, junkStatus)
      await until('it tells the truth again', async () => {
        const { topics, proxy, address } = await scene.statusOf('CalculateService', name)
        const names = ((topics ?? []) as readonly { readonly name: string }[]).map((one) => one.name)
        const isTrue = String(address).startsWith(name) && (proxy as { readonly replicas: number }).replicas === 0
        return isTrue && names.join() === `${topicOf(scene, name)},${topicOf(scene, name)}.dead`
      })
    },
    told: noProxies,
  },
  {
    what: 'a service that was deleted and is held by somebody',
    kind: 'CalculateService',
    does: async (scene, name) => {
      await serviceWithTopics(scene, name)
      await hold(scene, 'CalculateService', name)
    },
    told: told('Ready', 'Deleting', 'example.com/held'),
  },
  {
    what: 'a pause in other words',
    kind: 'CalculateService',
    does: async (scene, name) => {
      await applyOneService(scene, name)
      const annotations = { 'grpckafka.dev/reconciliation': 'Paused 🦊' }
      await scene.namespace.change('CalculateService', name, { metadata: { annotations } })
    },
    told: noProxies,
  },
]

async function hold({ namespace }: Scene, kind: OurKind, name: string): Promise<void> {
  await namespace.change(kind, name, { metadata: { finalizers: ['example.com/held'] } })
  await namespace.delete(kind, name)
}

/**
 * How often an object may be looked at in a quiet time: what failed for the first time right before comes back ten times, after
 * 5 ms and then after twice as long each time.
 */
const QUIET_MILLISECONDS = 5000
const MOST_LOOKS = 25

test(
  'resources that only the operator can find wrong are told of, and hurt nobody',
  { concurrency: true },
  async (t) => {
    const scene = await Scene.withoutOperator(t)
    const conditions = await ConditionWatch.start(t, scene.namespace)
    await scene.startOperator({ flags: { 'kube-qps': 500, 'kube-burst': 500 } })
    await applyGoodRoute(scene)
    await conditions.untilSeen('CalculateService', GOOD, 'Ready', 'Ready')
    await conditions.untilSeen('ConsumerGroup', GOOD, 'Ready', 'Ready')
    const begun = Date.now()
    // Times of creation have full seconds: the good route is the older one.
    await until('another second', () => Date.now() - begun > 2000)
    const before = conditions.seen.length

    await Promise.all(
      ROWS.map(({ what, kind, does, told: { type, reason, says } }, index) =>
        t.test(`${kind}: ${what} is ${reason}`, async () => {
          const name = `n${index}`
          await does(scene, name)
          await conditions.untilSeen(kind, name, type, reason, says)
        }),
      ),
    )

    await t.test('the operator goes on, and its failures are all of the API server', () => {
      const { operator } = scene
      assert.equal(operator.exit, undefined)
      const faults = operator.log.filter(
        ({ msg, level, err }) =>
          ['error', 'fatal', 'stderr'].includes(level) &&
          !(msg === 'a reconcile failed' && (err as { readonly type?: string } | undefined)?.type === 'KubeError'),
      )
      assert.deepEqual(faults, [])
    })

    await t.test('what is wrong is looked at again after growing pauses', async () => {
      const looks = (): ReadonlyMap<string, number> => {
        const keys = scene.operator.log.flatMap(({ msg, key, controller }) =>
          msg === 'reconciled' ? [`${String(controller)} ${String(key)}`] : [],
        )
        return new Map([...Map.groupBy(keys, (key) => key)].map(([key, all]) => [key, all.length]))
      }
      const earlier = looks()
      await pause(QUIET_MILLISECONDS)
      const often = [...looks()]
        .map(([key, count]) => ({ key, count: count - (earlier.get(key) ?? 0) }))
        .filter(({ count }) => count > MOST_LOOKS)
      assert.deepEqual(often, [])
    })

    await t.test('the good route was ready all the time, and still changes', async () => {
      const sinceThen = conditions.seen
        .slice(before)
        .filter(({ name, type, status }) => name === GOOD && type === 'Ready' && status !== 'True')
      assert.deepEqual(sinceThen, [])
      await scene.applyService({ topic: { name: topicOf(scene, GOOD), partitions: 4 } }, GOOD)
      await until('its topic has grown', async () => (await scene.topicNow(topicOf(scene, GOOD)))?.partitions === 4)
      await scene.untilReady('CalculateService', GOOD)
      await scene.untilReady('ConsumerGroup', GOOD)
    })
  },
)
