import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { validateResource } from '../../../crds/validate.ts'
import { CASES, LEAST, resource } from './cases.ts'

const problemsOf = (object: unknown, options?: { readonly old?: unknown }): readonly string[] => {
  const result = validateResource(object, options)
  return result.ok ? [] : result.problems
}

describe('validateResource', () => {
  for (const { name, kind, put, from, problems } of CASES) {
    test(name, () => {
      const old = from === undefined ? undefined : resource(kind, from)
      const found = problemsOf(resource(kind, put), { old })
      assert.deepEqual([...found].sort(), [...problems].sort())
    })
  }

  test('fills the defaults in and leaves the given object alone', () => {
    const given = resource('CalculateService')
    const result = validateResource(given)
    assert.ok(result.ok && result.resource.kind === 'CalculateService')
    assert.deepEqual(given, LEAST.CalculateService)
    assert.deepEqual(result.resource.spec, {
      service: 'calculator.CalculateService',
      kafka: { bootstrapServers: ['kafka:9092'] },
      redis: { url: 'redis://redis:6379/0' },
      topic: { name: 'calculator', partitions: 3, replicationFactor: 3, config: {} },
      methods: [{ name: 'Calculate', delivery: 'Queued', timeoutMilliseconds: 3000, cacheSeconds: 0, metadata: [] }],
      results: { retentionSeconds: 600 },
      proxy: {
        replicas: 1,
        port: 8080,
        maxMessageBytes: 4_194_304,
        maxInFlight: 4096,
        cacheMaxBytes: 67_108_864,
        profiling: 'Disabled',
      },
    })
  })

  test('two answers share no default', () => {
    const first = validateResource(resource('RetryPolicy'))
    assert.ok(first.ok && first.resource.kind === 'RetryPolicy')
    ;(first.resource.spec.retryableCodes as string[]).push('changed')
    const second = validateResource(resource('RetryPolicy'))
    assert.ok(second.ok && second.resource.kind === 'RetryPolicy')
    assert.deepEqual(second.resource.spec.retryableCodes, ['UNAVAILABLE'])
  })

  test('what a cluster gives back is valid', () => {
    const stored = resource('RetryPolicy', {
      'metadata.namespace': 'default',
      'metadata.uid': '5f91b41d-c215-46bd-a8e3-565b5edf4f2d',
      'metadata.resourceVersion': '219',
      'metadata.generation': 1,
      'metadata.creationTimestamp': '2026-11-21T09:12:56Z',
      'metadata.annotations': { a: 'b' },
      'metadata.managedFields': [{ manager: 'kubectl' }],
    })
    assert.deepEqual(problemsOf(stored), [])
  })

  const others: readonly (readonly [string, unknown, string])[] = [
    [
      'a Secret',
      { apiVersion: 'v1', kind: 'Secret' },
      'kind: must be one of CalculateService, ConsumerGroup, RetryPolicy, not "Secret"',
    ],
    [
      'another version',
      { apiVersion: 'grpckafka.dev/v1', kind: 'RetryPolicy' },
      'apiVersion: must be grpckafka.dev/v1alpha1, not "grpckafka.dev/v1"',
    ],
    ['no kind', {}, 'kind: must be one of CalculateService, ConsumerGroup, RetryPolicy, not undefined'],
    ['null', null, '(root): must be a Kubernetes object'],
    ['a list', [], '(root): must be a Kubernetes object'],
    ['text', 'kind: RetryPolicy', '(root): must be a Kubernetes object'],
  ]
  for (const [name, object, problem] of others) {
    test(`${name} is one problem`, () => assert.deepEqual(problemsOf(object), [problem]))
  }

  test('metadata of a wrong kind is named', () => {
    const object = { ...resource('RetryPolicy'), metadata: { nmae: 'quick', labels: { a: 1 } } }
    assert.deepEqual([...problemsOf(object)].sort(), [
      'metadata.labels.a: must be a string',
      'metadata.name: is required',
      'metadata.nmae: is not a field of this resource',
    ])
  })

  test('an immutable field is free while there is no earlier state', () => {
    assert.deepEqual(problemsOf(resource('CalculateService', { 'spec.topic.name': 'b' })), [])
  })
})
