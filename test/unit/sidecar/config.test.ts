import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { ConfigError, loadConfig, parseConfig } from '../../../sidecar/config.ts'
import type { SidecarConfig } from '../../../sidecar/config.ts'
import { Secret } from '../../../sidecar/secret.ts'
import { changed, isAbout, pathsOf, put } from '../changed.ts'

const common = {
  instance: 'p-1',
  service: { name: 'calc.Calculator', topic: 'calc' },
  kafka: { brokers: ['kafka:9092'] },
  redis: { url: 'redis://redis:6379' },
  admin: { port: 9090 },
}
const proxy = { ...common, role: 'proxy', proxy: { port: 8080, methods: [{ name: 'Calculate' }] } }
const worker = {
  ...common,
  role: 'worker',
  worker: { groupId: 'g', handler: { port: 50051 }, methods: [{ name: 'Calculate' }] },
}

const readUrl = ({ redis: { url } }: SidecarConfig) => (url instanceof Secret ? url.read() : url)

function problems(value: unknown, environment: Record<string, string> = {}): readonly string[] {
  try {
    parseConfig(value, environment)
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    assert.equal(error.code, 'CONFIG_INVALID')
    for (const problem of error.problems) assert.ok(error.message.includes(problem))
    return error.problems
  }
  return []
}

const paths = (value: unknown): string[] => problems(value).map((line) => line.slice(0, line.indexOf(': ')))

function directory(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'config-'))
  t.after(() => rmSync(made, { recursive: true }))
  return made
}

suite('receivers of callbacks', () => {
  const called = (...receivers: readonly object[]) => ({
    ...worker,
    worker: { ...worker.worker, callbacks: { receivers } },
  })
  const secret = { env: 'KEY' }

  test('are public and over HTTPS unless it is said otherwise, and have a secret that is read when it is needed', () => {
    const environment: Record<string, string> = { KEY: 'first' }
    const config = parseConfig(called({ host: 'hooks.example.com', secret }), environment)
    assert.ok(config.role === 'worker')
    const { receivers, giveUpAfterSeconds } = config.worker.callbacks ?? {}
    const [{ secret: read, ...receiver } = { secret: undefined }] = receivers ?? []
    assert.deepEqual(
      [receiver, giveUpAfterSeconds],
      [{ host: 'hooks.example.com', scheme: 'HTTPS', network: 'Public' }, 30],
    )
    environment['KEY'] = 'second'
    assert.equal(read?.read(), 'second')
  })

  test('are told of each with what is wrong with it, and its secret', () => {
    assert.deepEqual(
      problems(called({ host: '127.1', secret }, { host: 'a', scheme: 'HTTP', secret: { env: 'OTHER' } }), {
        KEY: 'a',
      }),
      [
        'worker.callbacks.receivers[0].host: must be a host name in lower case, not an address',
        'worker.callbacks.receivers[1].scheme: HTTP is for networks of your own',
        'worker.callbacks.receivers[1].secret.env: the variable OTHER is not set',
      ],
    )
  })
})

suite('the registration', () => {
  const registered = (more: object = {}) => ({
    ...proxy,
    proxy: {
      ...proxy.proxy,
      registration: {
        consul: {
          address: 'http://127.0.0.1:8500',
          name: 'calc',
          advertise: { host: { env: 'POD_IP' }, port: 8080 },
          ...more,
        },
      },
    },
  })
  const problemsOf = (value: object, environment: Readonly<Record<string, string>> = { POD_IP: '10.0.0.1' }) => {
    try {
      parseConfig(value, environment)
    } catch (error) {
      assert.ok(error instanceof ConfigError)
      return error.problems
    }
    return []
  }

  test('takes its host from a variable and its token from where it is', () => {
    const config = parseConfig(registered({ token: { env: 'TOKEN' } }), { POD_IP: 'fd00::1', TOKEN: 'secret' })
    assert.ok(config.role === 'proxy')
    const consul = config.proxy.registration?.consul
    assert.deepEqual(consul?.advertise, { host: 'fd00::1', port: 8080 })
    assert.equal(consul.token?.read(), 'secret')
    assert.deepEqual([consul.ttlSeconds, consul.intervalSeconds], [15, 5])
    assert.ok(!JSON.stringify(config).includes('secret'))
  })

  test('tells a variable that is not set, or holds no address, and a token that is not there', () => {
    const path = 'proxy.registration.consul'
    assert.deepEqual(problemsOf(registered({ token: { env: 'TOKEN' } }), {}), [
      `${path}.advertise.host.env: the variable POD_IP: Invalid input: expected string, received undefined`,
      `${path}.token.env: the variable TOKEN is not set`,
    ])
    assert.deepEqual(problemsOf(registered(), { POD_IP: 'a b' }), [
      `${path}.advertise.host.env: the variable POD_IP: must be an address or a host name`,
    ])
  })

  test('must say it is well twice in each TTL', () => {
    assert.deepEqual(problemsOf(registered({ ttlSeconds: 10, intervalSeconds: 5 })), [])
    assert.deepEqual(problemsOf(registered({ ttlSeconds: 9, intervalSeconds: 5 })), [
      'proxy.registration.consul.intervalSeconds: must be at most half of ttlSeconds: one that is lost must not make it critical',
    ])
  })
})

suite('the name of the instance', () => {
  const named = { ...proxy, instance: { env: 'POD_NAME' } }
  test('comes from a variable where the file says so', () => {
    assert.equal(parseConfig(named, { POD_NAME: 'calc-proxy-1' }).instance, 'calc-proxy-1')
  })
  test('must be there', () => {
    assert.deepEqual(problems(named), [
      'instance.env: the variable POD_NAME: Invalid input: expected string, received undefined',
    ])
  })
  test('must be one', () => {
    assert.deepEqual(problems({ ...named, log: 1 }, { POD_NAME: 'a b' }), [
      'log: Invalid input: expected object, received number',
      'instance.env: the variable POD_NAME: must be 1 to 128 of the characters a-z, A-Z, 0-9, ".", "_" and "-"',
    ])
  })
})

suite('parseConfig', () => {
  test('fills the defaults of a proxy', () => {
    const config = parseConfig(proxy, {})
    assert.equal(config.role, 'proxy')
    assert.deepEqual(config.proxy, {
      host: '0.0.0.0',
      port: 8080,
      methods: [
        {
          name: 'Calculate',
          delivery: 'Queued',
          timeoutMilliseconds: 3000,
          metadata: [],
          cacheSeconds: 0,
          cloudEvents: 'Disabled',
        },
      ],
      maxInFlight: 4096,
      maxInFlightBytes: 268_435_456,
      cacheMaxBytes: 67_108_864,
      recordVersion: 1,
      drainMilliseconds: 25_000,
    })
    assert.deepEqual(config.service, { ...common.service, maxMessageBytes: 4_194_304, resultRetentionSeconds: 600 })
    assert.deepEqual(config.redis, { url: 'redis://redis:6379', commandTimeoutMilliseconds: 5000 })
    assert.deepEqual(config.log, { level: 'info' })
  })

  test('fills the defaults of a worker', () => {
    const config = parseConfig(worker, {})
    assert.equal(config.role, 'worker')
    assert.equal(config.worker.role, 'Responder')
    assert.equal(config.worker.concurrency, 64)
    assert.deepEqual(config.worker.handler, { host: '127.0.0.1', port: 50051 })
    assert.deepEqual(config.worker.retry, {
      maxAttempts: 1,
      backoff: { initialMilliseconds: 100, factorPercent: 200, maxMilliseconds: 10_000, jitterPercent: 20 },
      retryableCodes: ['UNAVAILABLE'],
      onExpired: 'Drop',
    })
  })

  test('names every wrong value at once, each with its path', () => {
    assert.deepEqual(
      paths({
        ...proxy,
        instance: 'a b',
        kafka: { brokers: [] },
        admin: { port: 70_000 },
        colour: 'red',
        proxy: {
          port: 'eighty',
          methods: [{ name: 'Calculate', timeoutMilliseconds: 0, metadata: ['authorization'] }, { name: '9' }],
          rateLimit: { requestsPerSecond: 0, burst: 1 },
        },
      }).sort(),
      [
        'admin.port',
        'colour',
        'instance',
        'kafka.brokers',
        'proxy.methods[0].metadata[0]',
        'proxy.methods[0].timeoutMilliseconds',
        'proxy.methods[1].name',
        'proxy.port',
        'proxy.rateLimit.requestsPerSecond',
      ],
    )
  })

  test('names what is wrong between values beside every wrong value', () => {
    const wrong = { ...common, admin: { port: 70_000 }, colour: 'red' }
    const twice = [{ name: 'A' }, { name: 'A', timeoutMilliseconds: 0 }, { name: 9 }]
    assert.deepEqual(paths({ ...wrong, role: 'proxy', proxy: { port: 1, methods: twice } }).sort(), [
      'admin.port',
      'colour',
      'proxy.methods',
      'proxy.methods[1].timeoutMilliseconds',
      'proxy.methods[2].name',
    ])
    const late = { ...worker.worker, startFrom: 'Latest', concurrency: 0, methods: twice.slice(0, 2) }
    assert.deepEqual(paths({ ...wrong, role: 'worker', worker: late }).sort(), [
      'admin.port',
      'colour',
      'worker.concurrency',
      'worker.methods',
      'worker.methods[1].timeoutMilliseconds',
      'worker.startFrom',
    ])
  })

  for (const [what, value, path] of [
    ['nothing', undefined, '(root)'],
    ['an array', [], '(root)'],
    ['an unknown role', { ...proxy, role: 'broker' }, 'role'],
    [
      'a method named twice',
      { ...proxy, proxy: { ...proxy.proxy, methods: [{ name: 'A' }, { name: 'A' }] } },
      'proxy.methods',
    ],
    ['a missing section', { ...common, role: 'worker' }, 'worker'],
    ['a topic name that Kafka refuses', { ...proxy, service: { ...common.service, topic: 'a/b' } }, 'service.topic'],
    [
      'a Responder that would skip calls',
      { ...worker, worker: { ...worker.worker, startFrom: 'Latest' } },
      'worker.startFrom',
    ],
    [
      'a Responder of another topic',
      { ...worker, worker: { ...worker.worker, topics: ['work.dead'] } },
      'worker.topics',
    ],
    [
      'a topic to read that Kafka refuses',
      { ...worker, worker: { ...worker.worker, role: 'Observer', topics: ['a/b'] } },
      'worker.topics[0]',
    ],
    [
      'an order with long pauses',
      {
        ...worker,
        worker: {
          ...worker.worker,
          ordering: 'Key',
          retry: {
            maxAttempts: 3,
            backoff: { initialMilliseconds: 30_001, factorPercent: 100, maxMilliseconds: 30_001 },
          },
        },
      },
      'worker.retry.backoff',
    ],
    [
      'a one-way method with a cache',
      { ...proxy, proxy: { ...proxy.proxy, methods: [{ name: 'A', delivery: 'OneWay', cacheSeconds: 1 }] } },
      'proxy.methods[0].cacheSeconds',
    ],
    [
      'a partition key of credentials',
      { ...proxy, proxy: { ...proxy.proxy, methods: [{ name: 'A', partitionKey: { metadata: 'cookie' } }] } },
      'proxy.methods[0].partitionKey.metadata',
    ],
  ] as const) {
    test(`refuses ${what}`, () => assert.deepEqual(paths(value), [path]))
  }

  for (const name of [
    'authorization',
    'cookie',
    'set-cookie',
    'proxy-authorization',
    'grpc-timeout',
    'te',
    'Upper',
    'user-agent',
  ]) {
    test(`does not let the metadata ${name} travel`, () => {
      assert.deepEqual(paths({ ...proxy, proxy: { ...proxy.proxy, methods: [{ name: 'A', metadata: [name] }] } }), [
        'proxy.methods[0].metadata[0]',
      ])
    })
  }

  test('an Observer may read other topics', () => {
    assert.deepEqual(problems({ ...worker, worker: { ...worker.worker, role: 'Observer', topics: ['work.dead'] } }), [])
  })

  test('pauses that add up to a minute go with an order, longer ones without', () => {
    const pauses = (ordering: string, milliseconds: number) => {
      const backoff = { initialMilliseconds: milliseconds, factorPercent: 100, maxMilliseconds: milliseconds }
      return problems({ ...worker, worker: { ...worker.worker, ordering, retry: { maxAttempts: 3, backoff } } })
    }
    assert.deepEqual(pauses('Partition', 30_000), [])
    assert.deepEqual(pauses('None', 30_001), [])
    assert.match(pauses('Partition', 30_001).join(), /add up to 60002 ms; with ordering Partition/)
  })

  test('an Observer may start at the end', () => {
    assert.deepEqual(problems({ ...worker, worker: { ...worker.worker, role: 'Observer', startFrom: 'Latest' } }), [])
  })
})

suite('Redis', () => {
  const nodes = ['r-0:6379', '[::1]:6379']
  const withRedis = (redis: unknown, environment: Record<string, string> = {}) =>
    problems({ ...proxy, redis }, environment)

  test('is one server, what Sentinels call the master, or a Cluster', () => {
    assert.deepEqual(withRedis({ url: 'rediss://r:6379/2' }), [])
    assert.deepEqual(withRedis({ sentinel: { nodes, master: 'm' } }), [])
    assert.deepEqual(withRedis({ cluster: { nodes }, tls: {} }), [])
  })

  test('is not two of them, and not none', () => {
    const problem = 'redis: must have exactly one of url, sentinel and cluster'
    assert.deepEqual(withRedis({}), [problem])
    assert.deepEqual(withRedis({ cluster: { nodes }, sentinel: { nodes, master: 'm' } }), [problem])
    assert.deepEqual(withRedis({ cluster: { nodes }, url: 'redis://r:1' }), [problem])
  })

  test('has nodes with ports', () => {
    assert.deepEqual(withRedis({ cluster: { nodes: ['r-0'] } }), ['redis.cluster.nodes[0]: must be host:port'])
  })

  test('has no user without a password, and no certificate without its key', () => {
    assert.deepEqual(withRedis({ url: 'redis://r:1', username: 'team' }), [
      'redis.password: a username needs a password',
    ])
    assert.deepEqual(withRedis({ url: 'redis://r:1', tls: { certFile: '/c' } }), [
      'redis.tls: certFile and keyFile go together',
    ])
  })

  test('has passwords that are read when they are needed, and named where they cannot be', () => {
    const sentinel = { nodes, master: 'm', username: 'w', password: { env: 'WATCHER' } }
    const redis = { sentinel, username: 'team', password: { env: 'TEAM' } }
    assert.deepEqual(withRedis(redis), [
      'redis.password.env: the variable TEAM is not set',
      'redis.sentinel.password.env: the variable WATCHER is not set',
    ])
    const environment: Record<string, string> = { WATCHER: 'sesame', TEAM: 'hunter2' }
    const config = parseConfig({ ...proxy, redis }, environment).redis
    assert.deepEqual([config.password?.read(), config.sentinel?.password?.read()], ['hunter2', 'sesame'])
    environment['TEAM'] = 'hunter3'
    assert.equal(config.password?.read(), 'hunter3')
  })
})

suite('secrets', () => {
  test('a password in the file itself is refused and not repeated', () => {
    const [problem, ...others] = problems({ ...proxy, redis: { url: 'redis://:hunter2@redis:6379' } })
    assert.deepEqual(others, [])
    assert.match(problem ?? '', /^redis\.url: /)
    assert.doesNotMatch(problem ?? '', /hunter2/)
  })

  test('comes from the environment', () => {
    const config = parseConfig({ ...proxy, redis: { url: { env: 'REDIS' } } }, { REDIS: 'redis://:hunter2@redis:6379' })
    assert.equal(readUrl(config), 'redis://:hunter2@redis:6379')
    assert.equal(JSON.stringify(config).includes('hunter2'), false)
    assert.equal(inspect(config, { depth: 9 }).includes('hunter2'), false)
  })

  test('a variable that is not set is named', () => {
    assert.deepEqual(problems({ ...proxy, redis: { url: { env: 'REDIS' } } }), [
      'redis.url.env: the variable REDIS is not set',
    ])
    assert.deepEqual(problems({ ...proxy, redis: { url: { env: 'REDIS' } } }, { REDIS: '' }).length, 1)
  })

  test('one that cannot be resolved is named beside every other wrong value', () => {
    const wrong = { ...proxy, admin: { port: 70_000 } }
    assert.deepEqual(paths({ ...wrong, redis: { url: { env: 'REDIS' } } }).sort(), ['admin.port', 'redis.url.env'])
    assert.deepEqual(paths({ ...wrong, redis: { url: { file: '/not/there' } } }).sort(), [
      'admin.port',
      'redis.url.file',
    ])
    assert.equal(problems({ ...wrong, redis: { url: { env: 'REDIS' } } }, { REDIS: 'redis://r:1' }).length, 1)
  })

  test('comes from a file, without its last newline', (t) => {
    const file = join(directory(t), 'redis')
    writeFileSync(file, 'redis://:hunter2@redis:6379\n')
    const config = parseConfig({ ...proxy, redis: { url: { file } } }, {})
    assert.equal(readUrl(config), 'redis://:hunter2@redis:6379')
    writeFileSync(file, 'redis://:hunter3@redis:6379')
    assert.equal(readUrl(config), 'redis://:hunter3@redis:6379', 'what was rotated is not read')
    assert.deepEqual(problems({ ...proxy, redis: { url: { file: `${file}.not` } } }), [
      `redis.url.file: ${file}.not cannot be read (ENOENT)`,
    ])
  })
})

suite('loadConfig', () => {
  test('reads a file', (t) => {
    const file = join(directory(t), 'config.json')
    writeFileSync(file, JSON.stringify(worker))
    assert.equal(loadConfig(file, {}).role, 'worker')
  })

  test('a file that is away or no JSON is a ConfigError that quotes nothing of it', (t) => {
    const file = join(directory(t), 'config.json')
    assert.throws(() => loadConfig(file, {}), {
      code: 'CONFIG_INVALID',
      problems: [`(file): ${file} cannot be read (ENOENT)`],
    })
    writeFileSync(file, '{"redis": {"url": "redis://:hunter2@redis" ')
    assert.throws(() => loadConfig(file, {}), { code: 'CONFIG_INVALID', problems: [`(file): ${file} is not JSON`] })
  })
})

/** Runs of each property below. */
const RUNS = 1000

/** As the schema shows a place: an element of a list in brackets. */
const shown = (path: readonly (string | number)[]): string =>
  path.map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${part}`)).join('')

suite('a configuration with anything whatever in it', () => {
  const everything = [
    {
      ...proxy,
      log: { level: 'info' },
      redis: { url: { env: 'REDIS' } },
      proxy: {
        ...proxy.proxy,
        methods: [
          {
            name: 'Calculate',
            delivery: 'Queued',
            timeoutMilliseconds: 5,
            metadata: ['tenant'],
            cacheSeconds: 1,
            cloudEvents: 'Enabled',
          },
        ],
        rateLimit: { requestsPerSecond: 1, burst: 1 },
      },
    },
    { ...worker, worker: { ...worker.worker, retry: { backoff: {}, retryableCodes: ['ABORTED'] } } },
  ]
  const environment = { REDIS: 'redis://r:1' }

  test(`is taken, or refused with the place that is wrong (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(fc.oneof(...everything.map(changed)), ({ document, path }) => {
        for (const problem of problems(document, environment)) {
          assert.ok(isAbout(problem, shown(path)), `${problem} is not about ${shown(path)}`)
        }
      }),
      { numRuns: RUNS },
    )
  })

  test(`says the same when it is written down with its defaults and read again (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(fc.oneof(...everything.map(changed)), ({ document }) => {
        if (problems(document, environment).length > 0) return
        const config = parseConfig(document, environment)
        assert.deepEqual(parseConfig(JSON.parse(JSON.stringify(config)), environment), config)
      }),
      { numRuns: RUNS },
    )
  })

  test('is never repeated: it may be a secret in the wrong place', () => {
    for (const document of everything) {
      for (const path of pathsOf(document, [])) {
        if (path[0] === 'redis') continue
        const copy = structuredClone(document) as Record<string, unknown>
        put(copy, path, 'redis://:hunter2@r')
        assert.doesNotMatch(problems(copy, environment).join('\n'), /hunter2/, shown(path))
      }
    }
  })

  test(`that is no object at all is refused (${RUNS} runs)`, () => {
    fc.assert(
      fc.property(fc.anything(), (value) => assert.notDeepEqual(problems(value), [])),
      { numRuns: RUNS },
    )
  })

  for (const name of ['toString', '__proto__', 'constructor']) {
    test(`does not take ${name}, which every object has, for a variable`, () => {
      assert.deepEqual(problems({ ...proxy, redis: { url: { env: name } } }), [
        `redis.url.env: the variable ${name} is not set`,
      ])
    })
  }

  test('nested ten thousand deep is refused', () => {
    let deep: object = {}
    for (let depth = 0; depth < 10_000; depth++) deep = { url: deep }
    for (const section of ['kafka', 'redis', 'proxy', 'admin']) {
      assert.notDeepEqual(problems({ ...proxy, [section]: deep }), [], section)
    }
  })
})
