/** The resources' schema and the sidecar's are written apart; what one accepts the other must take. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { fieldSchema, readDefinitions, type Schema } from '../../../crds/schema.ts'
import type { CalculateService, ConsumerGroup, Resource, RetryPolicy } from '../../../crds/types.ts'
import { validateResource } from '../../../crds/validate.ts'
import { renderService } from '../../../operator/calculateservice/objects.ts'
import { proxyConfig } from '../../../operator/calculateservice/proxy-config.ts'
import { workerConfig } from '../../../operator/consumergroup/worker-config.ts'
import { FORBIDDEN_METADATA, parseConfig, pausesProblem, RETRYABLE_CODES } from '../../../sidecar/config.ts'
import { resource } from '../crds/cases.ts'

const specOf = (kind: Resource['kind']): Schema =>
  readDefinitions().find((definition) => definition.kind === kind)!.schema.properties!['spec']!

/** Any value that a schema describes; what only a rule forbids is left to the caller to drop. */
function anyOf(schema: Schema): fc.Arbitrary<unknown> {
  switch (schema.type) {
    case 'boolean':
      return fc.boolean()
    case 'integer': {
      const { minimum = 0, maximum = 2 ** 31 - 1 } = schema
      // The bounds themselves are where two schemas come to differ.
      return fc.oneof(fc.constantFrom(minimum, maximum), fc.integer({ min: minimum, max: maximum }))
    }
    case 'string': {
      if (schema.enum !== undefined) return fc.constantFrom(...schema.enum)
      const { minLength = 0, maxLength = 100 } = schema
      if (schema.pattern === undefined) return fc.string({ minLength, maxLength: Math.min(maxLength, 100) })
      return fc.stringMatching(new RegExp(schema.pattern), { maxLength })
    }
    case 'array': {
      const keys = schema['x-kubernetes-list-map-keys']
      const size = { minLength: schema.minItems ?? 0, maxLength: Math.min(schema.maxItems ?? 10, 10) }
      const identity = (item: unknown) =>
        JSON.stringify(keys === undefined ? item : keys.map((key) => (item as Record<string, unknown>)[key]))
      return schema['x-kubernetes-list-type'] === 'atomic'
        ? fc.array(anyOf(schema.items), size)
        : fc.uniqueArray(anyOf(schema.items), { ...size, selector: identity })
    }
    case 'object': {
      if (schema.additionalProperties !== undefined) return fc.constant({})
      const fields = Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, anyOf(inner)] as const)
      return fc.record(Object.fromEntries(fields), { requiredKeys: [...(schema.required ?? [])] })
    }
  }
}

type Json = Record<string, unknown>

/** Most values break one of the rules between fields; what is left of them here keeps to these, others are dropped. */
function kept(value: unknown): unknown {
  const spec = value as { readonly kafka?: Json; readonly redis?: Json; readonly scaling?: Json } & Json
  const { kafka, redis, scaling } = spec
  return {
    ...spec,
    ...(kafka === undefined ? {} : { kafka: 'sasl' in kafka ? { tls: {}, ...kafka } : kafka }),
    ...(redis === undefined ? {} : { redis: withOnePlace(redis) }),
    ...(scaling === undefined ? {} : { scaling: { ...scaling, maxReplicas: 1000 } }),
    ...(spec['role'] === 'Observer' || !('startFrom' in spec) ? {} : { startFrom: 'Earliest' }),
  }
}

function withOnePlace(redis: Json): Json {
  const places = ['url', 'urlSecretRef', 'sentinel', 'cluster'].filter((name) => name in redis)
  const others = Object.entries(redis).filter(([name]) => !places.slice(1).includes(name))
  return {
    ...('username' in redis ? { passwordSecretRef: { name: 'a', key: 'b' } } : {}),
    url: 'redis://a',
    ...Object.fromEntries(others),
    ...onlyPlace(places, redis),
  }
}

const onlyPlace = ([first]: readonly string[], redis: Json): Json =>
  first === undefined || first === 'url' ? {} : { url: undefined, [first]: redis[first] }

const accepted = <Kind extends Resource['kind']>(kind: Kind) =>
  anyOf(specOf(kind))
    .map((spec) => validateResource({ ...resource(kind), spec: kept(spec) }))
    .filter((result) => result.ok)
    .map((result) => result.resource as Extract<Resource, { kind: Kind }>)

const placement = {
  instance: 'a-0',
  admin: { port: 9090 },
}

interface ConfigMap {
  readonly data: { readonly 'sidecar.json': string }
}

const secretIn = () => 'redis://127.0.0.1:6379'

describe('what a resource may say, a sidecar takes', () => {
  test('proxy', () => {
    fc.assert(
      fc.property(accepted('CalculateService'), (service: CalculateService) => {
        const config = parseConfig(
          proxyConfig(service, {
            ...placement,
            listen: { port: service.spec.proxy.port },
            registration: { host: '10.0.0.1' },
          }),
          {},
          secretIn,
        )
        assert.equal(config.role, 'proxy')
        assert.equal(config.redis.commandTimeoutMilliseconds, service.spec.redis.commandTimeoutMilliseconds)
        const { data } = renderService(service, { sidecarImage: 'sidecar:1' }).configMap as unknown as ConfigMap
        const inCluster: unknown = JSON.parse(data['sidecar.json'])
        assert.deepEqual(
          parseConfig(inCluster, { POD_NAME: placement.instance, POD_IP: '10.0.0.1' }, secretIn).role,
          'proxy',
        )
      }),
      { numRuns: 200 },
    )
  })

  test('worker', () => {
    fc.assert(
      fc.property(
        accepted('CalculateService'),
        accepted('ConsumerGroup'),
        fc.option(accepted('RetryPolicy'), { nil: undefined }),
        (service: CalculateService, group: ConsumerGroup, policy: RetryPolicy | undefined) => {
          // The operator says so and starts no worker (plan.ts).
          fc.pre(policy === undefined || pausesProblem(group.spec.ordering, policy.spec) === undefined)
          const handler = { port: group.spec.handler.port }
          const config = parseConfig(workerConfig(group, service, policy, { ...placement, handler }), {}, secretIn)
          assert.equal(config.role, 'worker')
          if (config.role !== 'worker') return
          assert.equal(config.worker.ordering, group.spec.ordering)
          assert.equal(config.worker.retry.maxAttempts, policy?.spec.maxAttempts ?? 1)
          assert.ok(config.worker.graceSeconds * 1000 >= group.spec.timeoutMilliseconds + 15_000)
        },
      ),
      { numRuns: 200 },
    )
  })

  test("one machine's own Redis takes the place of any that a resource names, and its limit of time stays", () => {
    const service = resource('CalculateService', {
      'spec.redis': {
        cluster: { nodes: ['c:1'] },
        username: 'team',
        passwordSecretRef: { name: 'r', key: 'p' },
        tls: {},
      },
      'spec.redis.commandTimeoutMilliseconds': 700,
    })
    const result = validateResource(service)
    assert.ok(result.ok)
    const here = { ...placement, redisUrl: { env: 'REDIS_URL' }, listen: { port: 1 } }
    assert.deepEqual(proxyConfig(result.resource as CalculateService, here).redis, {
      url: { env: 'REDIS_URL' },
      commandTimeoutMilliseconds: 700,
    })
  })

  test('status codes that are tried again are the same', () => {
    const spec = specOf('RetryPolicy')
    assert.ok(spec.type === 'object')
    const codes = fieldSchema(spec, 'retryableCodes')
    assert.ok(codes?.type === 'array' && codes.items.type === 'string')
    assert.deepEqual(codes.items.enum, RETRYABLE_CODES)
  })

  test('metadata that never travels is the same', () => {
    for (const name of [...FORBIDDEN_METADATA, 'grpc-status']) {
      const result = validateResource(resource('CalculateService', { 'spec.methods.0.metadata': [name] }))
      assert.equal(result.ok, false, name)
    }
  })
})
