import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { parseConfig } from '../../../sidecar/config.ts'
import type { SidecarConfig } from '../../../sidecar/config.ts'
import { settingsForGood, settingsThatNeedRestart } from '../../../sidecar/hot-settings.ts'

const common = {
  instance: 'p-1',
  service: { name: 'calc.Calculator', topic: 'calc' },
  kafka: { brokers: ['kafka:9092'] },
  redis: { url: 'redis://redis:6379' },
  admin: { port: 9090 },
}
const proxy = { ...common, role: 'proxy' as const, proxy: { port: 8080, methods: [{ name: 'Calculate' }] } }
const worker = {
  ...common,
  role: 'worker' as const,
  worker: { groupId: 'g', handler: { port: 50051 }, methods: [{ name: 'Calculate' }] },
}

const parsed = (value: object): SidecarConfig => parseConfig(value, {})
const changed = (before: object, after: object) => settingsThatNeedRestart(parsed(before), parsed(after))

suite('settingsThatNeedRestart', () => {
  test('nothing has changed', () => assert.deepEqual(changed(proxy, structuredClone(proxy)), []))

  test('every hot setting of a proxy at once', () => {
    const after = {
      ...proxy,
      log: { level: 'debug' },
      admin: { ...common.admin, profiling: 'Enabled' },
      service: { ...common.service, resultRetentionSeconds: 60 },
      proxy: {
        port: 8080,
        methods: [{ name: 'Other', timeoutMilliseconds: 5, metadata: ['x-a'], cacheSeconds: 1 }],
        rateLimit: { requestsPerSecond: 1, burst: 1 },
        maxInFlight: 1,
        maxInFlightBytes: 2_000_000,
        cacheMaxBytes: 2_000_000,
        recordVersion: 2,
        drainMilliseconds: 1,
        callbacks: { receivers: [{ host: 'hooks.example.com' }] },
      },
    }
    assert.deepEqual(changed(proxy, after), [])
    assert.deepEqual(changed(after, proxy), [])
  })

  test('of a registration what the agent is told is hot, and where it is for good', () => {
    const consul = { address: 'http://a:8500', name: 'a', advertise: { host: 'h', port: 1 } }
    const registered = (more: object) => ({
      ...proxy,
      proxy: { ...proxy.proxy, registration: { consul: { ...consul, ...more } } },
    })
    const told = { name: 'b', tags: ['a'], meta: { a: 'b' }, ttlSeconds: 20, intervalSeconds: 2 }
    assert.deepEqual(changed(registered({}), registered(told)), [])
    assert.deepEqual(changed(registered({}), registered({ address: 'http://b:8500', caFile: 'ca' })), [
      'proxy.registration.consul.address',
      'proxy.registration.consul.caFile',
    ])
    assert.deepEqual(changed(proxy, registered({})), ['proxy.registration'])
  })

  test('every hot setting of a worker at once', () => {
    const after = {
      ...worker,
      log: { level: 'error' },
      admin: { ...common.admin, profiling: 'Enabled' },
      service: { ...common.service, resultRetentionSeconds: 60 },
      worker: {
        groupId: 'g',
        handler: { host: 'elsewhere', port: 1 },
        methods: [{ name: 'Other' }],
        concurrency: 1,
        timeoutMilliseconds: 1,
        graceSeconds: 10,
        retry: { maxAttempts: 3, backoff: { initialMilliseconds: 1 }, retryableCodes: ['ABORTED'] },
      },
    }
    assert.deepEqual(changed(worker, after), [])
  })

  test('how long receivers are tried is hot, and who they are is for good', () => {
    const called = (host: string, giveUpAfterSeconds: number) => {
      const callbacks = { receivers: [{ host, secret: { env: 'PATH' } }], giveUpAfterSeconds }
      return parseConfig({ ...worker, worker: { ...worker.worker, callbacks } }, { PATH: 'a' })
    }
    assert.deepEqual(settingsThatNeedRestart(called('a', 1), called('a', 2)), [])
    assert.deepEqual(settingsThatNeedRestart(called('a', 1), called('b', 1)), ['worker.callbacks.receivers'])
    assert.deepEqual(settingsThatNeedRestart(parsed(worker), called('a', 1)), ['worker.callbacks'])
  })

  test('names every setting that cannot change', () => {
    const after = {
      ...proxy,
      instance: 'p-2',
      kafka: { brokers: ['other:9092'] },
      service: { name: 'calc.Calculator', topic: 'other', maxMessageBytes: 2048 },
      admin: { port: 9091, host: '::1' },
      proxy: { ...proxy.proxy, port: 1, descriptorSetFile: '/d', maxInFlight: 7 },
    }
    assert.deepEqual([...changed(proxy, after)].sort(), [
      'admin.host',
      'admin.port',
      'instance',
      'kafka.brokers',
      'proxy.descriptorSetFile',
      'proxy.port',
      'service.maxMessageBytes',
      'service.topic',
    ])
  })

  test('another role is one reason and not many', () => assert.deepEqual(changed(proxy, worker), ['role']))

  test('what is written in a file compares like what was parsed of it', () => {
    assert.deepEqual(
      settingsThatNeedRestart(proxy, { ...proxy, proxy: { ...proxy.proxy, methods: [] } } as typeof proxy),
      [],
    )
    assert.deepEqual(settingsThatNeedRestart(proxy, { ...proxy, redis: { url: { env: 'X' } } } as never), ['redis.url'])
  })
})

suite('settingsForGood', () => {
  test('are alike where only hot settings differ', () => {
    const after = { ...proxy, log: { level: 'debug' }, proxy: { ...proxy.proxy, maxInFlight: 1, methods: [] } }
    assert.deepEqual(settingsForGood(after), settingsForGood(proxy))
  })

  test('differ where anything else does', () => {
    const others = [
      { ...proxy, instance: 'p-2' },
      { ...proxy, service: { ...common.service, maxMessageBytes: 2000 } },
      { ...proxy, proxy: { ...proxy.proxy, port: 8081 } },
      { ...proxy, kafka: { brokers: ['kafka:9093'] } },
      { ...proxy, kafka: { ...common.kafka, tls: {} } },
    ]
    for (const other of others) assert.notDeepEqual(settingsForGood(other), settingsForGood(proxy))
  })
})
