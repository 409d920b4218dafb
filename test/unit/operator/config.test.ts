import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OperatorConfigError, mayNameTopic, readConfig, usage } from '../../../operator/config.ts'
import type { OperatorConfig } from '../../../operator/config.ts'

const IMAGE = '--sidecar-image=registry.example/sidecar:1'
const read = (...args: readonly string[]): OperatorConfig => readConfig([IMAGE, ...args], {}, 'host')

function problemsOf(args: readonly string[], environment: Readonly<Record<string, string>> = {}): readonly string[] {
  try {
    readConfig(args, environment, 'host')
  } catch (error) {
    assert.ok(error instanceof OperatorConfigError)
    assert.equal(error.code, 'CONFIG')
    return error.problems
  }
  return []
}

describe('readConfig', () => {
  test('needs nothing but the image', () => {
    const { topicPrefixes, ...config } = read()
    assert.equal(topicPrefixes.size, 0)
    assert.deepEqual(config, {
      namespaces: [],
      sidecarImage: 'registry.example/sidecar:1',
      clusterName: '',
      concurrency: 4,
      resyncMilliseconds: 600_000,
      silenceMilliseconds: 150_000,
      deletionPatienceMilliseconds: 120_000,
      reconcileTimeoutMilliseconds: 120_000,
      drainMilliseconds: 20_000,
      logLevel: 'info',
      listenHost: '0.0.0.0',
      healthPort: 8081,
      metricsPort: 8080,
      kubeQps: 0,
      kubeBurst: 30,
      leaderElection: {
        id: 'grpc-kafka-operator',
        namespace: 'default',
        leaseMilliseconds: 15_000,
        renewDeadlineMilliseconds: 10_000,
        retryMilliseconds: 2000,
      },
      instance: 'host',
    })
  })

  test('takes flags in both ways of writing them', () => {
    assert.equal(read('--kube-qps=50').kubeQps, 50)
    assert.equal(read('--kube-qps', '50').kubeQps, 50)
  })

  test('takes a flag before a variable before the default', () => {
    const environment = { OPERATOR_KUBE_QPS: '7', OPERATOR_KUBE_BURST: '8' }
    const config = readConfig([IMAGE, '--kube-qps=9'], environment, 'host')
    assert.deepEqual([config.kubeQps, config.kubeBurst, config.concurrency], [9, 8, 4])
  })

  test('knows its pod from the downward API', () => {
    const config = readConfig([IMAGE], { POD_NAME: 'operator-0', POD_NAMESPACE: 'system' }, 'host')
    assert.equal(config.instance, 'operator-0')
    assert.equal(config.leaderElection.namespace, 'system')
    const told = readConfig([IMAGE, '--leader-elect-namespace=other'], { POD_NAMESPACE: 'system' }, 'host')
    assert.equal(told.leaderElection.namespace, 'other')
  })

  test('takes namespaces, each once', () => {
    assert.deepEqual(read('--namespaces=a, b,a').namespaces, ['a', 'b'])
  })

  test('reports everything that is wrong at once', () => {
    assert.deepEqual(
      problemsOf(['--kube-qps=-1', '--log-level=loud', '--nothing', 'word', '--namespaces=A'], {
        OPERATOR_CONCURRENCY: '1.5',
      }),
      [
        'there is no --nothing',
        'there is no word',
        '--namespaces=A must be a name of lower-case letters, digits and hyphens',
        '--sidecar-image must be given',
        '--concurrency=1.5 must be a whole number from 1 to 256',
        '--log-level=loud must be one of trace, debug, info, warn, error, fatal',
        '--kube-qps=-1 must be a whole number from 0 to 10000',
      ],
    )
  })

  test('refuses a flag that is given twice or without a value', () => {
    assert.deepEqual(problemsOf([IMAGE, '--kube-qps=1', '--kube-qps=2']), ['--kube-qps is given twice'])
    assert.deepEqual(problemsOf([IMAGE, '--kube-qps']), ['--kube-qps needs a value'])
  })

  test('refuses times of the lease with which two could lead', () => {
    assert.deepEqual(problemsOf([IMAGE, '--leader-elect-lease-seconds=10']), [
      '--leader-elect-lease-seconds must be above --leader-elect-renew-deadline-seconds',
    ])
    assert.deepEqual(problemsOf([IMAGE, '--leader-elect-retry-seconds=9']), [
      '--leader-elect-renew-deadline-seconds must be above 1.2 times --leader-elect-retry-seconds',
    ])
  })

  for (const text of ['team-a', 'team-a=', '=x', 'team-a=bad name', 'a=x;a=y', 'A=x']) {
    test(`refuses the allow-list ${text}`, () => {
      assert.equal(problemsOf([IMAGE, `--topic-prefix-allow-list=${text}`]).length, 1)
    })
  }

  test('its usage names every flag that it takes', () => {
    const flags = [...usage().matchAll(/^ {2}--([a-z-]+)/gm)].map(([, flag]) => flag!)
    assert.ok(flags.length > 15)
    const unknown = problemsOf([IMAGE, ...flags.map((flag) => `--${flag}=~`)]).filter((one) =>
      one.startsWith('there is no'),
    )
    assert.deepEqual(unknown, [])
  })
})

describe('mayNameTopic', () => {
  const { topicPrefixes } = read('--topic-prefix-allow-list=team-a=a.,shared.;*=other.')
  for (const [namespace, topic, may] of [
    ['team-a', 'a.orders', true],
    ['team-a', 'shared.orders', true],
    ['team-a', 'other.orders', false],
    ['team-b', 'other.orders', true],
    ['team-b', 'a.orders', false],
  ] as const) {
    test(`${namespace} ${may ? 'may' : 'may not'} use ${topic}`, () => {
      assert.equal(mayNameTopic(topicPrefixes, namespace, topic), may)
    })
  }

  test('a namespace that no entry names may use any', () => {
    const { topicPrefixes } = read('--topic-prefix-allow-list=team-a=a.')
    assert.equal(mayNameTopic(topicPrefixes, 'team-b', 'anything'), true)
    assert.equal(mayNameTopic(read().topicPrefixes, 'team-b', 'anything'), true)
  })
})
