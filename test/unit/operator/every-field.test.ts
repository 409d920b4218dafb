/** Every field by itself changes the objects that are made: none is read by nobody. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CalculateService, ConsumerGroup } from '../../../crds/types.ts'
import { validateResource } from '../../../crds/validate.ts'
import { renderService } from '../../../operator/calculateservice/objects.ts'
import { renderGroup } from '../../../operator/consumergroup/objects.ts'
import { resource, type Case } from '../crds/cases.ts'
import { changedFields, fieldsOf } from '../crds/fields.ts'
import { FIELDS_WITHOUT_OBJECTS } from './fields-without-objects.ts'

const IMAGE = { sidecarImage: 'sidecar:1' }
const SECRET = { name: 's', key: 'k' }
const TLS = {
  serverName: 'server',
  caSecretRef: { name: 'ca', key: 'k' },
  clientCertificateSecretRef: { name: 'client', certificateKey: 'c', privateKeyKey: 'p' },
}

function valid(kind: 'CalculateService' | 'ConsumerGroup', put: Case['put']) {
  const result = validateResource(resource(kind, put))
  assert.ok(result.ok, result.ok ? '' : result.problems.join('\n'))
  return result.resource
}

/** With every field that may stand beside the others. */
const service = (redis: NonNullable<Case['put'][string]>): CalculateService =>
  valid('CalculateService', {
    'spec.kafka.tls': TLS,
    'spec.kafka.sasl': { mechanism: 'PLAIN', username: 'u', passwordSecretRef: SECRET },
    'spec.redis': redis,
    'spec.methods': [{ name: 'Calculate', metadata: ['x-a'], partitionKey: { metadata: 'x-b' } }],
    'spec.rateLimit': { requestsPerSecond: 1, burst: 1 },
    'spec.callbacks': {
      receivers: [{ host: 'a', port: 1, network: 'Private', secretRef: SECRET, caSecretRef: { name: 'ca', key: 'k' } }],
    },
    'spec.registration.consul': {
      address: 'http://consul:8500',
      check: 'TTL',
      name: 'calc',
      tags: ['a'],
      tokenSecretRef: SECRET,
      caSecretRef: { name: 'ca', key: 'k' },
    },
    'spec.proxy': {
      resources: { requests: { cpu: '1' }, limits: { cpu: '1' } },
      template: {
        metadata: { labels: { a: 'b' }, annotations: { a: 'b' } },
        spec: {
          nodeSelector: { a: 'b' },
          tolerations: [{ key: 'a', operator: 'Equal', value: 'b', effect: 'NoExecute', tolerationSeconds: 1 }],
          affinity: { podAffinity: {} },
          topologySpreadConstraints: [{ maxSkew: 2, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule' }],
          imagePullSecrets: [{ name: 'registry' }],
          priorityClassName: 'high',
        },
      },
    },
  }) as CalculateService

const group = valid('ConsumerGroup', {
  'spec.role': 'Observer',
  'spec.topics': ['a'],
  'spec.retryPolicyRef': { name: 'policy' },
  'spec.sidecar': { resources: { requests: { cpu: '1' }, limits: { cpu: '1' } } },
  'spec.template': {
    metadata: { labels: { a: 'b' }, annotations: { a: 'b' } },
    spec: {
      terminationGracePeriodSeconds: 600,
      initContainers: [{ name: 'a' }],
      volumes: [{ name: 'a' }],
      containers: [
        {
          name: 'handler',
          image: 'a:1',
          lifecycle: { postStart: {} },
          ports: [{ containerPort: 1 }],
          command: ['a'],
          args: ['a'],
          env: [{ name: 'A', value: 'b' }],
        },
      ],
    },
  },
}) as ConsumerGroup

/** Another value of the same type; objects are only rendered, and not validated again. */
const OTHER: Readonly<Record<string, unknown>> = {
  PLAIN: 'SCRAM-SHA-256',
  ClusterIP: 'Headless',
  Disabled: 'Enabled',
  Earliest: 'Latest',
  TTL: 'Readiness',
  HTTPS: 'HTTP',
  Private: 'Public',
}
function another(value: unknown): unknown {
  if (typeof value === 'number') return value + 1
  if (typeof value === 'string') return OTHER[value] ?? `${value}0`
  return { ...(value as object), another: {} }
}

/** A copy of the resource for each value in its spec, or opaque object, in which that is another one. */
function* variants(value: unknown, opaque: (field: string) => boolean, field: string): Generator {
  if (typeof value !== 'object' || value === null || opaque(field)) {
    yield another(value)
    return
  }
  const isList = Array.isArray(value)
  for (const [name, inner] of Object.entries(value)) {
    // Names that people choose stand for all of them.
    const under = opaque(`${field}.*`) ? `${field}.*` : `${field}.${name}`
    for (const changed of variants(inner, opaque, isList ? `${field}[]` : under)) {
      if (isList) yield (value as readonly unknown[]).map((one, index) => (String(index) === name ? changed : one))
      else yield { ...value, [name]: changed }
    }
  }
}

/** Fields of whose every change the objects tell; and those of which they do not. */
function told<T extends CalculateService | ConsumerGroup>(kind: T['kind'], from: T, render: (one: T) => unknown) {
  const fields = fieldsOf(kind)
  const known = new Set(fields)
  const before = JSON.stringify(render(from))
  const seen = new Set<string>()
  const missed = new Set<string>()
  for (const spec of variants(from.spec, (field) => known.has(field), 'spec')) {
    const isTold = JSON.stringify(render({ ...from, spec: spec as T['spec'] })) !== before
    for (const field of changedFields(fields, from.spec, spec as object)) (isTold ? seen : missed).add(field)
  }
  return { seen, missed }
}

describe('every field by itself', () => {
  test('of a CalculateService changes its objects, but for those that change something else', () => {
    const kinds = [
      { url: 'redis://redis:6379' },
      { urlSecretRef: SECRET },
      { sentinel: { nodes: ['a:1'], master: 'm', username: 'u', passwordSecretRef: SECRET } },
      { cluster: { nodes: ['a:1'] }, username: 'u', passwordSecretRef: SECRET, tls: TLS },
    ].map((redis) => told('CalculateService', service(redis), (one) => renderService(one, IMAGE)))
    const without: readonly string[] = Object.keys(FIELDS_WITHOUT_OBJECTS.CalculateService)
    const seen = new Set(kinds.flatMap((one) => [...one.seen]).filter((field) => !without.includes(field)))
    assert.deepEqual([...seen, ...without].toSorted(), fieldsOf('CalculateService').toSorted())
    const missed = new Set(kinds.flatMap((one) => [...one.missed]))
    assert.deepEqual(
      [...missed].filter((field) => !without.includes(field)),
      [],
    )
  })

  test("of a CalculateService's callbacks changes the workers of a Responder, and of no Observer", () => {
    const of = service({ url: 'redis://redis:6379' })
    const render = (role: 'Responder' | 'Observer') => (one: CalculateService) =>
      renderGroup({ group: { ...group, spec: { ...group.spec, role } }, service: one }, IMAGE)
    const isOfCallbacks = (field: string) => field.startsWith('spec.callbacks.')
    const ofResponder = told('CalculateService', of, render('Responder'))
    assert.deepEqual([...ofResponder.missed].filter(isOfCallbacks), [])
    assert.equal([...ofResponder.seen].filter(isOfCallbacks).length, 9)
    assert.deepEqual([...told('CalculateService', of, render('Observer')).seen].filter(isOfCallbacks), [])
  })

  test('of a ConsumerGroup changes its objects, but for those that change something else', () => {
    const of = service({ url: 'redis://redis:6379' })
    const render = (one: ConsumerGroup) => renderGroup({ group: one, service: of, replicas: one.spec.replicas }, IMAGE)
    const { seen, missed } = told('ConsumerGroup', group, render)
    // What they refer to is given beside them.
    const references = ['spec.calculateServiceRef.name', 'spec.retryPolicyRef.name']
    const without = [...Object.keys(FIELDS_WITHOUT_OBJECTS.ConsumerGroup), ...references]
    const ofThem = [...seen].filter((field) => !without.includes(field))
    assert.deepEqual([...ofThem, ...without].toSorted(), fieldsOf('ConsumerGroup').toSorted())
    assert.deepEqual(
      [...missed].filter((field) => !without.includes(field)),
      [],
    )
  })
})
