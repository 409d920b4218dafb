import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { formatPath } from '../../../crds/path.ts'
import { validateResource } from '../../../crds/validate.ts'
import { changed, isAbout } from '../changed.ts'
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
      redis: { url: 'redis://redis:6379/0', commandTimeoutMilliseconds: 5000 },
      topic: {
        name: 'calculator',
        partitions: 3,
        replicationFactor: 3,
        config: {},
        deadLetterRetentionHours: 720,
        deletionPolicy: 'Retain',
      },
      methods: [{ name: 'Calculate', delivery: 'Queued', timeoutMilliseconds: 3000, cacheSeconds: 0, metadata: [] }],
      results: { retentionSeconds: 600 },
      proxy: {
        replicas: 1,
        port: 8080,
        maxMessageBytes: 4_194_304,
        maxInFlight: 4096,
        cacheMaxBytes: 67_108_864,
        recordVersion: 1,
        profiling: 'Disabled',
        resources: { requests: { cpu: '100m', memory: '256Mi' } },
        template: { metadata: {}, spec: {} },
      },
      registration: { kubernetes: 'ClusterIP' },
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
    [
      'a kind that is no text and cannot be made one',
      { apiVersion: 'grpckafka.dev/v1alpha1', kind: { toString: 1 } },
      'kind: must be one of CalculateService, ConsumerGroup, RetryPolicy, not object',
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

  test('a name of digits is not taken for an index', () => {
    assert.deepEqual(problemsOf(resource('CalculateService', { 'spec.topic.config': { 0: 1 } })), [
      'spec.topic.config["0"]: must be a string',
    ])
  })

  test('an immutable field is free while there is no earlier state', () => {
    assert.deepEqual(problemsOf(resource('CalculateService', { 'spec.topic.name': 'b' })), [])
  })
})

/** Runs of each property below. */
const RUNS = 1000
const KINDS = ['CalculateService', 'ConsumerGroup', 'RetryPolicy'] as const

describe('a resource with anything whatever in it', () => {
  const resources = fc.oneof(
    ...KINDS.map((kind) => {
      const checked = validateResource(resource(kind))
      assert.ok(checked.ok)
      return changed(checked.resource)
    }),
  )

  test(`is taken, or refused with the place that is wrong (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(resources, ({ document, path }) => {
        const place = formatPath(path)
        for (const problem of problemsOf(document))
          assert.ok(isAbout(problem, place), `${problem} is not about ${place}`)
      }),
      { numRuns: RUNS },
    )
  })

  test(`is the same resource when it is read again with its defaults (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(resources, ({ document }) => {
        const checked = validateResource(document)
        if (checked.ok) assert.deepEqual(validateResource(checked.resource), checked)
      }),
      { numRuns: RUNS },
    )
  })

  test(`may become any other without a rule that fails (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(resources, resources, ({ document }, { document: old }) => {
        if (!validateResource(old).ok || old['kind'] !== document['kind']) return
        const changedProblems = problemsOf(document, { old })
        assert.deepEqual(
          changedProblems.filter((problem) => problem.includes('cannot be evaluated')),
          [],
        )
        if (changedProblems.length === 0) assert.deepEqual(problemsOf(document), [])
      }),
      { numRuns: RUNS },
    )
  })

  test(`that is no object of JSON is refused (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(fc.anything(), (value) => assert.equal(validateResource(value).ok, false)),
      { numRuns: RUNS },
    )
  })

  // Each rule asked of each problem whether it lay where the rule runs: 108 s for these.
  test('and ten thousand wrong entries is refused in a time that grows with their number only', () => {
    const wrong = (count: number): number => {
      const methods = Array.from({ length: count }, () => ({ name: '9', colour: 'red' }))
      const startedAt = performance.now()
      assert.ok(problemsOf(resource('CalculateService', { 'spec.methods': methods })).length > 2 * count)
      return performance.now() - startedAt
    }
    wrong(100)
    const few = Math.min(wrong(500), wrong(500), wrong(500))
    const many = wrong(10_000)
    assert.ok(many < 200 * few, `500 took ${few} ms, 10,000 took ${many} ms`)
  })
})
