/**
 * What the API server and `validateResource` must agree on. Each case starts from a good resource, changes one
 * thing, and names the problems expected (none: accepted).
 */
import type { Resource } from '../../../crds/types.ts'

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }

/** The least that each kind must say. */
export const LEAST: Readonly<Record<Resource['kind'], Json>> = {
  CalculateService: {
    apiVersion: 'grpckafka.dev/v1alpha1',
    kind: 'CalculateService',
    metadata: { name: 'calculator' },
    spec: {
      service: 'calculator.CalculateService',
      kafka: { bootstrapServers: ['kafka:9092'] },
      redis: { url: 'redis://redis:6379/0' },
      topic: { name: 'calculator' },
      methods: [{ name: 'Calculate' }],
    },
  },
  ConsumerGroup: {
    apiVersion: 'grpckafka.dev/v1alpha1',
    kind: 'ConsumerGroup',
    metadata: { name: 'calculator' },
    spec: {
      calculateServiceRef: { name: 'calculator' },
      groupId: 'calculator',
      handler: { port: 9000 },
      template: { spec: { containers: [{ name: 'handler', image: 'calculator:1' }] } },
    },
  },
  RetryPolicy: {
    apiVersion: 'grpckafka.dev/v1alpha1',
    kind: 'RetryPolicy',
    metadata: { name: 'quick' },
    spec: {},
  },
}

export interface Case {
  readonly name: string
  readonly kind: Resource['kind']
  /** Field paths (`spec.topic.name`, `spec.methods.0.name`) and what is put there; `undefined` removes the field. */
  readonly put: Readonly<Record<string, Json | undefined>>
  /** The earlier state, as changes to the same good resource. */
  readonly from?: Readonly<Record<string, Json | undefined>>
  readonly problems: readonly string[]
}

/** A copy of the good resource of this kind with these fields changed. */
export function resource(kind: Resource['kind'], put: Case['put'] = {}): Record<string, unknown> {
  const copy = structuredClone(LEAST[kind]) as Record<string, unknown>
  for (const [path, value] of Object.entries(put)) {
    const parts = path.split('.')
    const last = parts.pop()!
    let place = copy
    for (const part of parts) place = (place[part] ??= {}) as Record<string, unknown>
    if (value === undefined) delete place[last]
    else place[last] = value
  }
  return copy
}

const service = (name: string, put: Case['put'], problems: readonly string[] = [], from?: Case['put']): Case => ({
  name: `CalculateService: ${name}`,
  kind: 'CalculateService',
  put,
  problems,
  ...(from === undefined ? {} : { from }),
})
const group = (name: string, put: Case['put'], problems: readonly string[] = [], from?: Case['put']): Case => ({
  name: `ConsumerGroup: ${name}`,
  kind: 'ConsumerGroup',
  put,
  problems,
  ...(from === undefined ? {} : { from }),
})
const policy = (name: string, put: Case['put'], problems: readonly string[] = []): Case => ({
  name: `RetryPolicy: ${name}`,
  kind: 'RetryPolicy',
  put,
  problems,
})

const METADATA_RULE =
  "must not be credentials (authorization, cookie), gRPC's own (grpc-*) or the connection's (host, te, content-type, user-agent)"

const RECEIVER_HOST = '^([a-z0-9]([-a-z0-9]*[a-z0-9])?\\.)*[a-z]([-a-z0-9]*[a-z0-9])?$'

export const CASES: readonly Case[] = [
  service('the least', {}),
  service('no spec', { spec: undefined }, ['spec: is required']),
  service('an empty spec', { spec: {} }, [
    'spec.service: is required',
    'spec.kafka: is required',
    'spec.redis: is required',
    'spec.topic: is required',
    'spec.methods: is required',
  ]),
  service('a spec that is a list', { spec: [] }, ['spec: must be an object']),
  service('a name with capitals', { 'metadata.name': 'Calculator' }, [
    'metadata.name: must match pattern "^[a-z]([-a-z0-9]*[a-z0-9])?$"',
    'metadata.name: must match pattern "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"',
  ]),
  service('a name with dots, of which no Kubernetes Service can be made', { 'metadata.name': 'a.b' }, [
    'metadata.name: must match pattern "^[a-z]([-a-z0-9]*[a-z0-9])?$"',
  ]),
  service('a name of 53 characters', { 'metadata.name': 'a'.repeat(53) }, [
    'metadata.name: must NOT have more than 52 characters',
  ]),
  service('a field that is not declared', { 'spec.topics': [] }, ['spec.topics: is not a field of this resource']),
  service('a field called constructor', { 'spec.topic.constructor': 1 }, [
    'spec.topic.constructor: is not a field of this resource',
  ]),
  service('a field that is not declared in a list', { 'spec.methods.0.timeout': 1 }, [
    'spec.methods[0].timeout: is not a field of this resource',
  ]),
  service('callbacks', {
    'spec.callbacks': {
      receivers: [
        { host: 'hooks.example.org', secretRef: { name: 'a', key: 'b' } },
        { host: 'a', port: 8080, scheme: 'HTTP', network: 'Private', secretRef: { name: 'a', key: 'b' } },
      ],
    },
  }),
  service(
    'callbacks without a receiver, given up never',
    { 'spec.callbacks': { receivers: [], giveUpAfterSeconds: 0 } },
    ['spec.callbacks.receivers: must NOT have fewer than 1 items', 'spec.callbacks.giveUpAfterSeconds: must be >= 1'],
  ),
  ...['127.0.0.1', '0x7f.1', '2130706433', '[::1]', 'a.1', 'A.example', 'a.', '*.a', 'user@a', 'a:1'].map((host) =>
    service(
      `callbacks to ${host}, which is no name`,
      { 'spec.callbacks': { receivers: [{ host, secretRef: { name: 'a', key: 'b' } }] } },
      [`spec.callbacks.receivers[0].host: must match pattern "${RECEIVER_HOST}"`],
    ),
  ),
  service(
    'callbacks over HTTP to the Internet',
    { 'spec.callbacks': { receivers: [{ host: 'a.example', scheme: 'HTTP', secretRef: { name: 'a', key: 'b' } }] } },
    ['spec.callbacks.receivers[0].scheme: HTTP is for networks of your own'],
  ),
  service(
    'callbacks to this machine, without keys to sign them',
    { 'spec.callbacks': { receivers: [{ host: 'localhost', network: 'Loopback' }] } },
    [
      'spec.callbacks.receivers[0].network: must be one of Public, Private',
      'spec.callbacks.receivers[0].secretRef: is required',
    ],
  ),
  service('a service without a package', { 'spec.service': 'CalculateService' }),
  service('a service that ends in a dot', { 'spec.service': 'calculator.' }, [
    'spec.service: must match pattern "^[a-zA-Z_][a-zA-Z0-9_]*(\\.[a-zA-Z_][a-zA-Z0-9_]*)*$"',
  ]),
  service('a service that is a number', { 'spec.service': 1 }, ['spec.service: must be a string']),
  service('no brokers', { 'spec.kafka.bootstrapServers': [] }, [
    'spec.kafka.bootstrapServers: must NOT have fewer than 1 items',
  ]),
  service('a broker by IPv6', { 'spec.kafka.bootstrapServers': ['[::1]:9092', 'kafka_1.example:9092'] }),
  service('a broker without a port', { 'spec.kafka.bootstrapServers': ['kafka'] }, [
    'spec.kafka.bootstrapServers[0]: must match pattern "^(\\[[0-9a-fA-F:.]+\\]|[a-zA-Z0-9._-]+):[0-9]{1,5}$"',
  ]),
  service('a broker twice', { 'spec.kafka.bootstrapServers': ['a:1', 'b:1', 'a:1'] }, [
    'spec.kafka.bootstrapServers[2]: is there twice',
  ]),
  service('33 brokers', { 'spec.kafka.bootstrapServers': Array.from({ length: 33 }, (_, i) => `a${i}:1`) }, [
    'spec.kafka.bootstrapServers: must NOT have more than 32 items',
  ]),
  service('kafka by TLS alone', { 'spec.kafka.tls': {} }),
  service('kafka by TLS with everything', {
    'spec.kafka.tls': {
      caSecretRef: { name: 'kafka', key: 'ca.crt' },
      clientCertificateSecretRef: { name: 'team' },
      serverName: 'kafka.example.org',
    },
  }),
  service('kafka with a client certificate from nowhere', { 'spec.kafka.tls.clientCertificateSecretRef': {} }, [
    'spec.kafka.tls.clientCertificateSecretRef.name: is required',
  ]),
  service('kafka by SCRAM', {
    'spec.kafka.sasl': {
      mechanism: 'SCRAM-SHA-512',
      username: 'team',
      passwordSecretRef: { name: 'team', key: 'password' },
    },
  }),
  service(
    'kafka by a mechanism that is not known',
    {
      'spec.kafka.sasl': {
        mechanism: 'GSSAPI',
        username: 'team',
        passwordSecretRef: { name: 'team', key: 'password' },
      },
    },
    ['spec.kafka.sasl.mechanism: must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512'],
  ),
  service('kafka by SASL without a password', { 'spec.kafka.sasl': { mechanism: 'SCRAM-SHA-512', username: 'team' } }, [
    'spec.kafka.sasl.passwordSecretRef: is required',
  ]),
  service(
    'kafka by PLAIN without TLS',
    {
      'spec.kafka.sasl': { mechanism: 'PLAIN', username: 'team', passwordSecretRef: { name: 'team', key: 'password' } },
    },
    ['spec.kafka: PLAIN sends the password as it is and needs tls'],
  ),
  service('kafka by PLAIN with TLS', {
    'spec.kafka.tls': {},
    'spec.kafka.sasl': { mechanism: 'PLAIN', username: 'team', passwordSecretRef: { name: 'team', key: 'password' } },
  }),
  service('redis with neither', { 'spec.redis': {} }, [
    'spec.redis: must have exactly one of url, urlSecretRef, sentinel and cluster',
  ]),
  service('redis with both', { 'spec.redis.urlSecretRef': { name: 'redis', key: 'url' } }, [
    'spec.redis: must have exactly one of url, urlSecretRef, sentinel and cluster',
  ]),
  service('redis by secret', { 'spec.redis': { urlSecretRef: { name: 'redis', key: 'url' } } }),
  service('redis by secret without a key', { 'spec.redis': { urlSecretRef: { name: 'redis' } } }, [
    'spec.redis.urlSecretRef.key: is required',
  ]),
  service('redis by TLS', { 'spec.redis.url': 'rediss://redis:6379' }),
  service('redis by sentinels, with everything', {
    'spec.redis': {
      sentinel: {
        nodes: ['s-0:26379', '[::1]:26379'],
        master: 'mymaster',
        username: 'watcher',
        passwordSecretRef: { name: 'sentinel', key: 'password' },
      },
      username: 'team',
      passwordSecretRef: { name: 'redis', key: 'password' },
      tls: {
        caSecretRef: { name: 'redis', key: 'ca.crt' },
        clientCertificateSecretRef: { name: 'redis-client' },
        serverName: 'redis.example',
      },
      commandTimeoutMilliseconds: 100,
    },
  }),
  service('redis by sentinels without a master', { 'spec.redis': { sentinel: { nodes: ['s:1'] } } }, [
    'spec.redis.sentinel.master: is required',
  ]),
  service('a sentinel without a port', { 'spec.redis': { sentinel: { nodes: ['s'], master: 'm' } } }, [
    'spec.redis.sentinel.nodes[0]: must match pattern "^(\\[[0-9a-fA-F:.]+\\]|[a-zA-Z0-9._-]+):[0-9]{1,5}$"',
  ]),
  service(
    "a user of the sentinels' without a password",
    { 'spec.redis': { sentinel: { nodes: ['s:1'], master: 'm', username: 'watcher' } } },
    ['spec.redis.sentinel: a username needs a passwordSecretRef'],
  ),
  service('a redis cluster over TLS', { 'spec.redis': { cluster: { nodes: ['c-0:6379'] }, tls: {} } }),
  service('a redis cluster of no nodes', { 'spec.redis': { cluster: { nodes: [] } } }, [
    'spec.redis.cluster.nodes: must NOT have fewer than 1 items',
  ]),
  service(
    'redis by sentinels and as a cluster',
    { 'spec.redis': { sentinel: { nodes: ['s:1'], master: 'm' }, cluster: { nodes: ['c:1'] } } },
    ['spec.redis: must have exactly one of url, urlSecretRef, sentinel and cluster'],
  ),
  service('a redis user without a password', { 'spec.redis.username': 'team' }, [
    'spec.redis: a username needs a passwordSecretRef',
  ]),
  service(
    'a key of a secret that is a path',
    { 'spec.redis.passwordSecretRef': { name: 'redis', key: '../../password' } },
    ['spec.redis.passwordSecretRef.key: must match pattern "^[-._a-zA-Z0-9]+$"'],
  ),
  service('a redis that may be silent for 99 ms', { 'spec.redis.commandTimeoutMilliseconds': 99 }, [
    'spec.redis.commandTimeoutMilliseconds: must be >= 100',
  ]),
  service('redis with a password in the URL', { 'spec.redis.url': 'redis://:secret@redis:6379' }, [
    'spec.redis.url: must match pattern "^rediss?://(\\[[0-9a-fA-F:.]+\\]|[a-zA-Z0-9._-]+)(:[0-9]{1,5})?(/[0-9]{0,5})?$"',
  ]),

  service('redis with a password behind the URL', { 'spec.redis.url': 'redis://redis:6379?password=secret' }, [
    'spec.redis.url: must match pattern "^rediss?://(\\[[0-9a-fA-F:.]+\\]|[a-zA-Z0-9._-]+)(:[0-9]{1,5})?(/[0-9]{0,5})?$"',
  ]),
  service('a topic of 241 characters', { 'spec.topic.name': 'a'.repeat(241) }),
  service('a topic of 242 characters', { 'spec.topic.name': 'a'.repeat(242) }, [
    'spec.topic.name: must NOT have more than 241 characters',
  ]),
  service('a topic with a slash', { 'spec.topic.name': 'a/b' }, [
    'spec.topic.name: must match pattern "^[a-zA-Z0-9._-]+$"',
  ]),
  service('a topic "."', { 'spec.topic.name': '.' }, ['spec.topic.name: must not be "." or ".."']),
  service('a topic ".."', { 'spec.topic.name': '..' }, ['spec.topic.name: must not be "." or ".."']),
  service("a failure topic's name", { 'spec.topic.name': 'a.dead' }, [
    'spec.topic.name: must not end in ".dead", the name of a failure topic',
  ]),
  service("a retry topic's name", { 'spec.topic.name': 'a.retry.12' }, [
    'spec.topic.name: must not end in ".retry." and a number, the name of a retry topic',
  ]),
  service("a topic of retries that is nobody's retry topic", { 'spec.topic.name': 'a.retry.fast' }),
  service("one of Kafka's own topics", { 'spec.topic.name': '__consumer_offsets' }, [
    'spec.topic.name: must not begin with "__", as Kafka\'s own topics do',
  ]),
  service('another topic', { 'spec.topic.name': 'b' }, ['spec.topic.name: is immutable'], {
    'spec.topic.name': 'a',
  }),
  service('no partitions', { 'spec.topic.partitions': 0 }, ['spec.topic.partitions: must be >= 1']),
  service('partitions as text', { 'spec.topic.partitions': '3' }, ['spec.topic.partitions: must be an integer']),
  service('half a partition', { 'spec.topic.partitions': 1.5 }, ['spec.topic.partitions: must be an integer']),
  service('partitions that are null take the default', { 'spec.topic.partitions': null }),
  service('more partitions', { 'spec.topic.partitions': 4 }, [], {}),
  service('fewer partitions', { 'spec.topic.partitions': 2 }, ['spec.topic.partitions: can only grow'], {}),
  service(
    'another replication factor',
    { 'spec.topic.replicationFactor': 1 },
    ['spec.topic.replicationFactor: is immutable'],
    {},
  ),
  service('topic settings', { 'spec.topic.config': { 'retention.ms': '1000' } }),
  service('a topic setting that is a number', { 'spec.topic.config': { 'retention.ms': 1000 } }, [
    'spec.topic.config["retention.ms"]: must be a string',
  ]),
  service(
    '65 topic settings',
    { 'spec.topic.config': Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`a${i}`, ''])) },
    ['spec.topic.config: must NOT have more than 64 properties'],
  ),
  service('no methods', { 'spec.methods': [] }, ['spec.methods: must NOT have fewer than 1 items']),
  service('a method twice', { 'spec.methods': [{ name: 'A' }, { name: 'A' }] }, [
    'spec.methods[1]: is there twice (same name)',
  ]),
  service('a method without a name', { 'spec.methods': [{}] }, ['spec.methods[0].name: is required']),
  service('a method with its service', { 'spec.methods.0.name': 'a.B/C' }, [
    'spec.methods[0].name: must match pattern "^[a-zA-Z_][a-zA-Z0-9_]*$"',
  ]),
  service('a one-way method', { 'spec.methods.0.delivery': 'OneWay' }),
  service('a delivery of a later version', { 'spec.methods.0.delivery': 'Direct' }, [
    'spec.methods[0].delivery: must be one of Queued, OneWay',
  ]),
  service('a one-way method with a cache', { 'spec.methods.0': { name: 'A', delivery: 'OneWay', cacheSeconds: 1 } }, [
    'spec.methods[0].cacheSeconds: a OneWay call has no answer that could be kept',
  ]),
  service('CloudEvents', { 'spec.methods.0.cloudEvents': 'Enabled' }),
  service('CloudEvents by halves', { 'spec.methods.0.cloudEvents': 'Structured' }, [
    'spec.methods[0].cloudEvents: must be one of Disabled, Enabled',
  ]),
  service('a cache for more than a day', { 'spec.methods.0.cacheSeconds': 86_401 }, [
    'spec.methods[0].cacheSeconds: must be <= 86400',
  ]),
  service('no time', { 'spec.methods.0.timeoutMilliseconds': 0 }, [
    'spec.methods[0].timeoutMilliseconds: must be >= 1',
  ]),
  service('more than an hour', { 'spec.methods.0.timeoutMilliseconds': 3_600_001 }, [
    'spec.methods[0].timeoutMilliseconds: must be <= 3600000',
  ]),
  service('metadata', { 'spec.methods.0.metadata': ['x-tenant', 'trace-bin'] }),
  ...[
    'authorization',
    'proxy-authorization',
    'cookie',
    'set-cookie',
    'te',
    'content-type',
    'user-agent',
    'host',
    'connection',
    'grpc-timeout',
  ].map((name) =>
    service(`metadata ${name}`, { 'spec.methods.0.metadata': ['ok', name] }, [
      `spec.methods[0].metadata[1]: ${METADATA_RULE}`,
    ]),
  ),
  service('metadata in capitals', { 'spec.methods.0.metadata': ['X-Tenant'] }, [
    'spec.methods[0].metadata[0]: must match pattern "^[a-z0-9._-]+$"',
  ]),
  service('metadata twice', { 'spec.methods.0.metadata': ['a', 'a'] }, ['spec.methods[0].metadata[1]: is there twice']),
  service('a partition key', { 'spec.methods.0.partitionKey': { metadata: 'x-account' } }),
  service('a partition key of nothing', { 'spec.methods.0.partitionKey': {} }, [
    'spec.methods[0].partitionKey.metadata: is required',
  ]),
  service('a partition key in capitals', { 'spec.methods.0.partitionKey': { metadata: 'X-Account' } }, [
    'spec.methods[0].partitionKey.metadata: must match pattern "^[a-z0-9._-]+$"',
  ]),
  ...['authorization', 'cookie', 'host', 'grpc-timeout'].map((metadata) =>
    service(`a partition key of ${metadata}`, { 'spec.methods.0.partitionKey': { metadata } }, [
      `spec.methods[0].partitionKey.metadata: ${METADATA_RULE}`,
    ]),
  ),
  service('results kept for too short', { 'spec.results.retentionSeconds': 59 }, [
    'spec.results.retentionSeconds: must be >= 60',
  ]),
  service('results kept for too long', { 'spec.results.retentionSeconds': 604_801 }, [
    'spec.results.retentionSeconds: must be <= 604800',
  ]),
  service('a limit', { 'spec.rateLimit': { requestsPerSecond: 1, burst: 1 } }),
  service('a limit without its figures', { 'spec.rateLimit': {} }, [
    'spec.rateLimit.requestsPerSecond: is required',
    'spec.rateLimit.burst: is required',
  ]),
  service(
    'a proxy out of bounds',
    {
      'spec.proxy': {
        replicas: 101,
        port: 0,
        maxMessageBytes: 1023,
        maxInFlight: 0,
        cacheMaxBytes: 1,
        recordVersion: 3,
      },
    },
    [
      'spec.proxy.replicas: must be <= 100',
      'spec.proxy.port: must be >= 1',
      'spec.proxy.maxMessageBytes: must be >= 1024',
      'spec.proxy.maxInFlight: must be >= 1',
      'spec.proxy.recordVersion: must be <= 2',
      'spec.proxy.cacheMaxBytes: must be >= 1048576',
    ],
  ),
  service(
    'several problems, of schema and of rules, at once',
    { 'spec.redis': {}, 'spec.proxy.port': 70_000, 'spec.topic.name': 'a.dead' },
    [
      'spec.proxy.port: must be <= 65535',
      'spec.redis: must have exactly one of url, urlSecretRef, sentinel and cluster',
      'spec.topic.name: must not end in ".dead", the name of a failure topic',
    ],
  ),

  service('topics that go with it', { 'spec.topic.deletionPolicy': 'Delete' }),
  service('a policy of deletion that there is not', { 'spec.topic.deletionPolicy': 'Orphan' }, [
    'spec.topic.deletionPolicy: must be one of Retain, Delete',
  ]),
  service('resources', { 'spec.proxy.resources': { requests: { cpu: '0.5', memory: '128Mi' }, limits: { cpu: '2' } } }),
  service('resources that are no quantities', { 'spec.proxy.resources': { limits: { cpu: 'two', memory: 1024 } } }, [
    'spec.proxy.resources.limits.cpu: must match pattern "^[0-9]+(\\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$"',
    'spec.proxy.resources.limits.memory: must be a string',
  ]),
  service('where proxies run', {
    'spec.proxy.template': {
      metadata: { labels: { team: 'a' }, annotations: { note: 'b' } },
      spec: {
        nodeSelector: { disk: 'ssd' },
        tolerations: [{ operator: 'Exists' }],
        affinity: { nodeAffinity: {} },
        imagePullSecrets: [{ name: 'registry' }],
        priorityClassName: 'high',
        topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }],
      },
    },
  }),
  service("a field of a template's metadata that is not declared", { 'spec.proxy.template.metadata': { name: 'a' } }, [
    'spec.proxy.template.metadata.name: is not a field of this resource',
  ]),
  service('a container of the user in a proxy', { 'spec.proxy.template.spec': { containers: [] } }, [
    'spec.proxy.template.spec.containers: is not a field of this resource',
  ]),
  service('registrations', {
    'spec.registration': {
      kubernetes: 'Headless',
      consul: { address: 'https://consul:8501', name: 'calc', tags: ['a'], tokenSecretRef: { name: 'c', key: 't' } },
    },
  }),
  service(
    'a Consul without an address, one with a path, and a kind of Service that there is not',
    {
      'spec.registration': { kubernetes: 'LoadBalancer', consul: { address: 'http://consul/v1' } },
    },
    [
      'spec.registration.kubernetes: must be one of ClusterIP, Headless, None',
      'spec.registration.consul.address: must match pattern "^https?://(\\[[0-9a-fA-F:.]+\\]|[a-zA-Z0-9._-]+)(:[0-9]{1,5})?$"',
    ],
  ),
  service('proxies that keep themselves in Consul', {
    'spec.registration.consul': { address: 'http://consul:8500', check: 'TTL', ttlSeconds: 2, intervalSeconds: 1 },
  }),
  service(
    'a check of which one lost renewal is the end, and a datacenter that an agent does not ask for',
    {
      'spec.registration.consul': {
        address: 'http://consul:8500',
        datacenter: 'east',
        check: 'TTL',
        ttlSeconds: 11,
        intervalSeconds: 6,
      },
    },
    [
      'spec.registration.consul.intervalSeconds: must be at most half of ttlSeconds: one that is lost must not make the check critical',
      'spec.registration.consul.datacenter: with check TTL it is that of the agent',
    ],
  ),
  service(
    'a check that there is not, and times that Consul would not take',
    { 'spec.registration.consul': { address: 'http://consul:8500', check: 'gRPC', ttlSeconds: 1, intervalSeconds: 0 } },
    [
      'spec.registration.consul.check: must be one of Readiness, TTL',
      'spec.registration.consul.ttlSeconds: must be >= 2',
      'spec.registration.consul.intervalSeconds: must be >= 1',
    ],
  ),
  service('a status, as it comes back from a cluster', {
    status: {
      observedGeneration: 1,
      conditions: [
        { type: 'Ready', status: 'True', reason: 'Ready', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' },
      ],
    },
  }),

  group('the least', {}),
  group('scaling', { 'spec.scaling': { minReplicas: 0, maxReplicas: 5 } }),
  group('scaling without a maximum', { 'spec.scaling': {} }, ['spec.scaling.maxReplicas: is required']),
  group('a maximum below the minimum', { 'spec.scaling': { minReplicas: 3, maxReplicas: 2 } }, [
    'spec.scaling.maxReplicas: must be at least minReplicas',
  ]),
  group('a maximum below the default of the minimum', { 'spec.scaling': { maxReplicas: 0 } }, [
    'spec.scaling.maxReplicas: must be >= 1',
  ]),
  group('an empty spec', { spec: {} }, [
    'spec.calculateServiceRef: is required',
    'spec.groupId: is required',
    'spec.handler: is required',
    'spec.template: is required',
  ]),
  service('dead letters that are kept for a day', { 'spec.topic.deadLetterRetentionHours': 24 }),
  service('dead letters that are kept for no time', { 'spec.topic.deadLetterRetentionHours': 0 }, [
    'spec.topic.deadLetterRetentionHours: must be >= 1',
  ]),
  group('an observer of what is new', { 'spec.role': 'Observer', 'spec.startFrom': 'Latest' }),
  group('a responder of what is new', { 'spec.startFrom': 'Latest' }, [
    'spec.startFrom: startFrom Latest is for Observers: a Responder skips no acknowledged call',
  ]),
  group('watermarks in Redis', { 'spec.offsets': 'Redis' }),
  group('watermarks elsewhere', { 'spec.offsets': 'Consul' }, ['spec.offsets: must be one of Kafka, Redis']),
  group('an observer of other topics', { 'spec.role': 'Observer', 'spec.topics': ['calculator.dead', 'other'] }),
  group('a responder of no other topic', { 'spec.topics': [] }),
  group('a responder of other topics', { 'spec.topics': ['calculator.dead'] }, [
    "spec.topics: topics are for Observers: a Responder reads its service's topic",
  ]),
  group('a topic with a slash', { 'spec.role': 'Observer', 'spec.topics': ['a/b'] }, [
    'spec.topics[0]: must match pattern "^[a-zA-Z0-9._-]+$"',
  ]),
  ...['None', 'Key', 'Partition'].map((ordering) => group(`ordering ${ordering}`, { 'spec.ordering': ordering })),
  group('an unknown ordering', { 'spec.ordering': 'Topic' }, ['spec.ordering: must be one of None, Key, Partition']),
  group('an unknown role', { 'spec.role': 'Reader' }, ['spec.role: must be one of Responder, Observer']),
  group('another role', { 'spec.role': 'Observer' }, ['spec.role: is immutable'], {}),
  group('another group id', { 'spec.groupId': 'b' }, ['spec.groupId: is immutable'], {}),
  group('a group id with a space', { 'spec.groupId': 'a b' }, ['spec.groupId: must match pattern "^[a-zA-Z0-9._-]+$"']),
  group('a policy', { 'spec.retryPolicyRef': { name: 'quick' } }),
  group('a policy without a name', { 'spec.retryPolicyRef': {} }, ['spec.retryPolicyRef.name: is required']),
  group(
    'out of bounds',
    { 'spec.replicas': 1001, 'spec.concurrency': 0, 'spec.timeoutMilliseconds': 0, 'spec.handler.port': 65_536 },
    [
      'spec.replicas: must be <= 1000',
      'spec.handler.port: must be <= 65535',
      'spec.concurrency: must be >= 1',
      'spec.timeoutMilliseconds: must be >= 1',
    ],
  ),
  group('a protocol of a later version', { 'spec.handler.protocol': 'HTTP' }, [
    'spec.handler.protocol: must be one of GRPC',
  ]),
  group('a template without a pod', { 'spec.template': {} }, ['spec.template.spec: is required']),
  group('a template without containers', { 'spec.template.spec': {} }, ['spec.template.spec.containers: is required']),
  group('a template with no container', { 'spec.template.spec.containers': [] }, [
    'spec.template.spec.containers: must NOT have fewer than 1 items',
  ]),
  group("a pod's own fields", {
    'spec.template.metadata': { labels: { a: 'b' } },
    'spec.template.spec.volumes': [{ name: 'a', emptyDir: {} }],
    'spec.template.spec.containers.0.ports': [{ containerPort: 9000 }],
  }),
  group('a variable from a secret', {
    'spec.template.spec.containers.0.env': [{ name: 'A', valueFrom: { secretKeyRef: { name: 'a', key: 'b' } } }],
  }),
  group('a variable that is a number', { 'spec.template.spec.containers.0.env': [{ name: 'PORT', value: 9000 }] }, [
    'spec.template.spec.containers[0].env[0].value: must be a string',
  ]),
  group('a container twice', { 'spec.template.spec.containers': [{ name: 'a' }, { name: 'a' }] }, [
    'spec.template.spec.containers[1]: is there twice (same name)',
  ]),
  group('an argument twice', { 'spec.template.spec.containers.0.args': ['a', 'a'] }),
  group('a command that is text', { 'spec.template.spec.containers.0.command': 'node server.js' }, [
    'spec.template.spec.containers[0].command: must be an array',
  ]),
  group('a grace below zero', { 'spec.template.spec.terminationGracePeriodSeconds': -1 }, [
    'spec.template.spec.terminationGracePeriodSeconds: must be >= 0',
  ]),

  policy('the least', {}),
  policy('no spec', { spec: undefined }, ['spec: is required']),
  policy('out of bounds', { 'spec.maxAttempts': 21, 'spec.backoff': { factorPercent: 99, jitterPercent: 101 } }, [
    'spec.maxAttempts: must be <= 20',
    'spec.backoff.factorPercent: must be >= 100',
    'spec.backoff.jitterPercent: must be <= 100',
  ]),
  policy(
    'a longest pause that is shorter than the first',
    { 'spec.backoff': { initialMilliseconds: 10, maxMilliseconds: 9 } },
    ['spec.backoff.maxMilliseconds: must be at least initialMilliseconds'],
  ),
  policy(
    'a first pause that is longer than the default of the longest',
    { 'spec.backoff.initialMilliseconds': 10_001 },
    ['spec.backoff.maxMilliseconds: must be at least initialMilliseconds'],
  ),
  policy('no rule runs on what is malformed', { 'spec.backoff': { initialMilliseconds: 'long' } }, [
    'spec.backoff.initialMilliseconds: must be an integer',
  ]),
  policy('no codes', { 'spec.retryableCodes': [] }),
  policy('a code that is never tried again', { 'spec.retryableCodes': ['INVALID_ARGUMENT'] }, [
    'spec.retryableCodes[0]: must be one of CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, INTERNAL, UNAVAILABLE, DATA_LOSS',
  ]),
  policy('an end of calls that there is not', { 'spec.onExpired': 'Retry' }, [
    'spec.onExpired: must be one of Drop, Continue',
  ]),
  policy('a code twice', { 'spec.retryableCodes': ['UNKNOWN', 'UNKNOWN'] }, ['spec.retryableCodes[1]: is there twice']),
]
