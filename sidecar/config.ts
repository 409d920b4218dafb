/**
 * The sidecar's configuration: one schema for both roles, read from one JSON file.
 *
 * Every wrong value is reported at once, each with its path. A secret is never written in the file: it is a
 * reference to an environment variable or to a file, resolved when the configuration is loaded.
 */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { OF_THE_HOP } from './metadata.ts'
import { MOST_PAUSES_IN_ORDER_MILLISECONDS, pausesMilliseconds } from './retry-pauses.ts'
import { Secret, SecretError } from './secret.ts'
import type { SecretReference } from './secret.ts'
import type { TlsConfig } from './tls.ts'

const port = z.int().min(1).max(65535)
const milliseconds = z.int().min(1).max(86_400_000)
const name = (max: number) => z.string().min(1).max(max)

/** Kafka's own rule for topic names: letters, digits, `.`, `_`, `-`, at most 249; 8 are kept free for `.retry.8`. */
const topicName = z
  .string()
  .regex(/^[a-zA-Z0-9._-]{1,241}$/, 'must be 1 to 241 of the characters a-z, A-Z, 0-9, ".", "_" and "-"')

/** A secret by reference. `{"env": "NAME"}` reads a variable, `{"file": "/path"}` a file (a trailing newline is cut). */
const secretReference = z.union([z.strictObject({ env: name(256) }), z.strictObject({ file: name(4096) })])

/** Given, connections are encrypted and the server's certificate is checked. Files are read again for each connection. */
const tls = z
  .strictObject({
    /** PEM. Absent: the well-known authorities. */
    caFile: name(4096).optional(),
    /** The client's own certificate and its key, PEM. */
    certFile: name(4096).optional(),
    keyFile: name(4096).optional(),
    /** The name in the server's certificate, where it is not the one that is called. */
    serverName: name(253).optional(),
  })
  .refine(({ certFile, keyFile }) => (certFile === undefined) === (keyFile === undefined), {
    message: 'certFile and keyFile go together',
  })

const hostAndPort = z
  .string()
  .max(261)
  .regex(/^(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._-]+):[0-9]{1,5}$/, 'must be host:port')

const nodes = z.array(hostAndPort).min(1).max(64)

const redis = z
  .strictObject({
    /** One server: `redis://host:port/db`; as a reference where it holds a password. */
    url: z
      .union([
        z.string().regex(/^rediss?:\/\/[^@]+$/, 'must be redis://host:port without a password (use a reference)'),
        secretReference,
      ])
      .optional(),
    /** The server that Sentinels call the master. */
    sentinel: z
      .strictObject({ nodes, master: name(255), username: name(255).optional(), password: secretReference.optional() })
      .optional(),
    /** A Redis Cluster, by some of its nodes. */
    cluster: z.strictObject({ nodes }).optional(),
    username: name(255).optional(),
    password: secretReference.optional(),
    tls: tls.optional(),
    /** A command without an answer is given up after so long, and its connection replaced. */
    commandTimeoutMilliseconds: z.int().min(100).max(60_000).default(5000),
  })
  .refine(({ url, sentinel, cluster }) => [url, sentinel, cluster].filter((one) => one !== undefined).length === 1, {
    message: 'must have exactly one of url, sentinel and cluster',
  })
  .refine(({ username, password }) => username === undefined || password !== undefined, {
    message: 'a username needs a password',
    path: ['password'],
  })

const kafka = z
  .strictObject({
    brokers: z.array(name(255)).min(1).max(32),
    tls: tls.optional(),
    /** Who this sidecar is for Kafka. The password is read again whenever it signs in. */
    sasl: z
      .strictObject({
        mechanism: z.enum(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']),
        username: name(255),
        password: secretReference,
      })
      .optional(),
  })
  .refine(({ tls, sasl }) => sasl?.mechanism !== 'PLAIN' || tls !== undefined, {
    message: 'PLAIN sends the password as it is and needs tls',
  })

/** The gRPC status codes that a RetryPolicy may name. */
export const RETRYABLE_CODES = [
  'CANCELLED',
  'UNKNOWN',
  'DEADLINE_EXCEEDED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
] as const

const admin = z.strictObject({
  /** Where /metrics, /healthz, /readyz and (worker) /quiesce are served. */
  host: name(255).default('0.0.0.0'),
  port,
  /** Whether /profile/cpu and /profile/heap are served there. */
  profiling: z.enum(['Disabled', 'Enabled']).default('Disabled'),
})

const instanceName = z
  .string()
  .regex(/^[a-zA-Z0-9._-]{1,128}$/, 'must be 1 to 128 of the characters a-z, A-Z, 0-9, ".", "_" and "-"')

/** Consul's own bounds for what names a service's data. */
const metaPairs = z
  .record(z.string().regex(/^[a-zA-Z0-9_-]{1,128}$/, 'must be a name of Consul meta data'), z.string().max(512))
  .refine((meta) => Object.keys(meta).length <= 64, { message: 'must have at most 64 pairs' })

const advertisedHost = z.string().regex(/^[a-zA-Z0-9._:-]{1,253}$/, 'must be an address or a host name')

/** This replica in Consul: registered at an agent, with a check that lives as long as the replica says that it does. */
const consulRegistration = z
  .strictObject({
    /** The agent's HTTP API. */
    address: z
      .string()
      .max(261)
      .regex(
        /^https?:\/\/(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._-]+)(:[0-9]{1,5})?$/,
        'must be http://host:port or https://host:port',
      ),
    /** The service's name in Consul. */
    name: name(63),
    tags: z.array(name(128)).max(32).default([]),
    meta: metaPairs.default({}),
    /** The ACL token, read again for each request. */
    token: secretReference.optional(),
    /** Trusted for https, PEM, read again for each request. Absent: the well-known authorities. */
    caFile: name(4096).optional(),
    /** The check is critical when nothing was said for so long. */
    ttlSeconds: z.int().min(2).max(3600).default(15),
    /** How often it is said that this replica is ready, or is not. */
    intervalSeconds: z.int().min(1).max(1800).default(5),
    /** Where clients reach this replica. `{"env": "POD_IP"}` reads a variable. */
    advertise: z.strictObject({ host: z.union([advertisedHost, z.strictObject({ env: name(256) })]), port }),
  })
  .refine(({ ttlSeconds, intervalSeconds }) => intervalSeconds * 2 <= ttlSeconds, {
    message: 'must be at most half of ttlSeconds: one that is lost must not make it critical',
    path: ['intervalSeconds'],
  })

const common = {
  /**
   * Unique among the replicas of the service: names the reply channel and the work in progress. `{"env": "POD_NAME"}` reads
   * a variable, so that replicas can have one configuration.
   */
  instance: z.union([instanceName, z.strictObject({ env: name(256) })]),
  service: z.strictObject({
    /** Fully-qualified gRPC service, `package.Service`. */
    name: z
      .string()
      .regex(/^[a-zA-Z_][a-zA-Z0-9_]*(\.[a-zA-Z_][a-zA-Z0-9_]*)*$/, 'must be a fully-qualified gRPC service name'),
    topic: topicName,
    /** Largest request and largest result, in bytes of the gRPC message. */
    maxMessageBytes: z.int().min(1024).max(67_108_864).default(4_194_304),
    /** How long an outcome is kept after it was stored. */
    resultRetentionSeconds: z.int().min(60).max(604_800).default(600),
  }),
  kafka,
  redis,
  admin,
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
}

const metadataName = z
  .string()
  .regex(/^[a-z0-9._-]{1,128}$/, 'must be a lower-case metadata name')
  .refine(
    (key) => !FORBIDDEN_METADATA.has(key) && !key.startsWith('grpc-'),
    'must not be credentials (authorization, cookie), grpc-* or a field of the connection (te, host, content-type)',
  )

const method = z.strictObject({
  /** The method's short name, `Calculate`. */
  name: z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]{0,127}$/, 'must be a gRPC method name'),
  /** The longest a caller waits; a shorter client deadline wins. */
  timeoutMilliseconds: milliseconds.default(3000),
  /** Names of request metadata that travel to the handler. `authorization` and `cookie` never do. */
  metadata: z.array(metadataName).max(32).default([]),
})

const methodsOf = <Method extends z.ZodType>(schema: Method) =>
  z
    .array(schema)
    .min(1)
    .max(256)
    .refine((all) => namesNoMethodTwice(all), {
      message: 'names a method twice',
      // Also where other values are wrong: every problem is told at once.
      when: ({ value }) => Array.isArray(value),
    })

function namesNoMethodTwice(all: readonly unknown[]): boolean {
  const names = all.map((one) => (one as { name?: unknown } | undefined)?.name).filter((one) => typeof one === 'string')
  return new Set(names).size === names.length
}

/** What never goes on Kafka or into Redis, whatever a resource names: credentials, and what belongs to a connection. */
export const FORBIDDEN_METADATA: ReadonlySet<string> = new Set([
  'authorization',
  'cookie',
  'set-cookie',
  'proxy-authorization',
  ...OF_THE_HOP,
])

const proxyMethod = method.extend({
  /** Queued: the caller waits for the answer. OneWay: it gets an empty one as soon as Kafka has the call. */
  delivery: z.enum(['Queued', 'OneWay']).default('Queued'),
  /** How long an OK answer may be given again to an identical call, by the replica that got it. 0: never. */
  cacheSeconds: z.int().min(0).max(86_400).default(0),
  /**
   * Where the record's key is: a value of the request's metadata. Calls with the same one are in one partition, and run in their
   * order where the workers' `ordering` says so. A call without it has no order.
   */
  partitionKey: z.strictObject({ metadata: metadataName }).optional(),
  /** Enabled: records have the headers of CloudEvents 1.0 (Kafka binding, binary mode), so that others can read them. */
  cloudEvents: z.enum(['Disabled', 'Enabled']).default('Disabled'),
})

/**
 * Whom callers may have told of their calls' outcomes. A name, never an address: a last label that begins with a digit may be read as a
 * part of one.
 */
const receiver = z.strictObject({
  host: z
    .string()
    .max(253)
    .regex(
      /^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z]([-a-z0-9]*[a-z0-9])?$/,
      'must be a host name in lower case, not an address',
    ),
  /** Absent: the scheme's. */
  port: port.optional(),
  scheme: z.enum(['HTTPS', 'HTTP']).default('HTTPS'),
})

const proxy = z.strictObject({
  ...common,
  role: z.literal('proxy'),
  proxy: z.strictObject({
    host: name(255).default('0.0.0.0'),
    port,
    methods: methodsOf(
      proxyMethod.refine(({ delivery, cacheSeconds }) => delivery === 'Queued' || cacheSeconds === 0, {
        message: 'a OneWay call has no answer that could be kept',
        path: ['cacheSeconds'],
      }),
    ),
    /** Token bucket of this replica. Absent: no limit. */
    rateLimit: z
      .strictObject({
        requestsPerSecond: z.int().min(1).max(1_000_000),
        burst: z.int().min(1).max(1_000_000),
        /** Calls that may wait for a token instead of being refused. */
        maxWaiting: z.int().min(0).max(100_000).default(0),
      })
      .optional(),
    /** Calls between admission and answer; the bytes of their requests and of those that wait for a token. */
    maxInFlight: z.int().min(1).max(1_000_000).default(4096),
    maxInFlightBytes: z.int().min(1_048_576).max(8_589_934_592).default(268_435_456),
    /** Version of the records that it writes. A newer one only when every worker reads it, also the one rolled back to. */
    recordVersion: z.union([z.literal(1), z.literal(2)]).default(1),
    /** Memory for the answers of methods with cacheSeconds, in each replica. */
    cacheMaxBytes: z.int().min(1_048_576).max(2_147_483_647).default(67_108_864),
    /** A FileDescriptorSet; given, server reflection is served. */
    descriptorSetFile: name(4096).optional(),
    /** On SIGTERM: how long calls in flight may take to finish. */
    drainMilliseconds: milliseconds.default(25_000),
    /** Absent: no caller may ask for any. */
    callbacks: z.strictObject({ receivers: z.array(receiver).min(1).max(32) }).optional(),
    /** Where this replica registers itself. Absent: nowhere; others do it, or nobody. */
    registration: z.strictObject({ consul: consulRegistration }).optional(),
  }),
})

const calledReceiver = receiver
  .extend({
    /** Where all of its addresses have to be: the Internet; networks of one's own; this machine, which no resource can say. */
    network: z.enum(['Public', 'Private', 'Loopback']).default('Public'),
    /** The keys with which messages to it are signed, as Standard Webhooks writes them; read again for each. */
    secret: secretReference,
    /** Trusted for HTTPS, PEM, read again for each message. Absent: the well-known authorities. */
    caFile: name(4096).optional(),
  })
  .refine(({ scheme, network }) => scheme === 'HTTPS' || network !== 'Public', {
    message: 'HTTP is for networks of your own',
    path: ['scheme'],
  })

const worker = z.strictObject({
  ...common,
  role: z.literal('worker'),
  worker: z.strictObject({
    groupId: name(255),
    /** A Responder writes outcomes; an Observer runs the same records and never does. */
    role: z.enum(['Responder', 'Observer']).default('Responder'),
    /**
     * What an Observer reads in place of the service's topic, such as its failure topic. Their records are calls of the service; those
     * that are none are passed over.
     */
    topics: z
      .array(
        z
          .string()
          .regex(/^[a-zA-Z0-9._-]{1,249}$/, 'must be 1 to 249 of the characters a-z, A-Z, 0-9, ".", "_" and "-"'),
      )
      .max(16)
      .default([]),
    /** Where a group without offsets starts. A Responder is always `Earliest`. */
    startFrom: z.enum(['Earliest', 'Latest']).default('Earliest'),
    /**
     * Where the group's watermarks are: in Kafka; or in Redis, some ten milliseconds behind, and in Kafka a second behind, for when Redis has
     * lost them.
     */
    offsets: z.enum(['Kafka', 'Redis']).default('Kafka'),
    handler: z.strictObject({ host: name(255).default('127.0.0.1'), port }),
    /**
     * Which calls run one after the other, retries included, in the order in which Kafka has them: none; those of one key; those of one
     * partition.
     */
    ordering: z.enum(['None', 'Key', 'Partition']).default('None'),
    /** Calls that the handler runs at the same time. */
    concurrency: z.int().min(1).max(10_000).default(64),
    /** The longest one attempt may take; the call's own deadline may be nearer. */
    timeoutMilliseconds: milliseconds.default(30_000),
    methods: methodsOf(method),
    retry: z
      .strictObject({
        maxAttempts: z.int().min(1).max(20).default(1),
        backoff: z
          .strictObject({
            initialMilliseconds: milliseconds.default(100),
            factorPercent: z.int().min(100).max(1000).default(200),
            maxMilliseconds: milliseconds.default(10_000),
            jitterPercent: z.int().min(0).max(100).default(20),
          })
          .prefault({}),
        retryableCodes: z.array(z.enum(RETRYABLE_CODES)).max(16).default(['UNAVAILABLE']),
        /**
         * What becomes of a call whose deadline passes before it has an answer: it ends; or it is run and tried again as before, for as
         * long as its result is kept (`service.resultRetentionSeconds`), for whoever asks later.
         */
        onExpired: z.enum(['Drop', 'Continue']).default('Drop'),
      })
      .prefault({}),
    /** Absent: nobody is told by HTTP. */
    callbacks: z
      .strictObject({
        receivers: z.array(calledReceiver).min(1).max(32),
        /** A receiver that does not take a message is tried so long; the offset of its record waits. */
        giveUpAfterSeconds: z.int().min(1).max(300).default(30),
      })
      .optional(),
    /** From SIGTERM or /quiesce to the end: running handlers get this long, less 5 s. */
    graceSeconds: z.int().min(10).max(3600).default(45),
    /**
     * A file that stands while the worker runs and is removed at a clean end. Found at start, it means an unclean
     * end: the worker waits one session (6 s) before it joins, so that its join does not stop the whole group.
     */
    uncleanEndMarker: name(4096).optional(),
  }),
})

const schema = z
  .discriminatedUnion('role', [proxy, worker])
  .refine((config) => !startsTooLate(config), {
    path: ['worker', 'startFrom'],
    message: 'Latest is for Observers: a Responder skips no acknowledged call',
    when: () => true,
  })
  .refine((config) => !readsElsewhere(config), {
    path: ['worker', 'topics'],
    message: "are for Observers: a Responder reads its service's topic",
    when: () => true,
  })
  .superRefine((config, context) => {
    const problem = config.role === 'worker' ? pausesProblem(config.worker.ordering, config.worker.retry) : undefined
    if (problem !== undefined)
      context.addIssue({ code: 'custom', path: ['worker', 'retry', 'backoff'], message: problem })
  })

/** Why calls with an order cannot be tried again by this policy; undefined: they can. Without an order any will do. */
export function pausesProblem(
  ordering: Ordering,
  policy: Pick<RetryConfig, 'maxAttempts' | 'backoff'>,
): string | undefined {
  const pauses = pausesMilliseconds(policy)
  if (ordering === 'None' || pauses <= MOST_PAUSES_IN_ORDER_MILLISECONDS) return undefined
  return `the pauses add up to ${pauses} ms; with ordering ${ordering}, where others wait for a call that waits, to ${MOST_PAUSES_IN_ORDER_MILLISECONDS} ms at the most`
}

/** @param config may be wrong elsewhere, or altogether. */
function startsTooLate(config: unknown): boolean {
  const { worker } = (config ?? {}) as { worker?: { role?: unknown; startFrom?: unknown } }
  return (worker?.role ?? 'Responder') === 'Responder' && worker?.startFrom === 'Latest'
}

/** @param config may be wrong elsewhere, or altogether. */
function readsElsewhere(config: unknown): boolean {
  const { worker } = (config ?? {}) as { worker?: { role?: unknown; topics?: unknown } }
  return (worker?.role ?? 'Responder') === 'Responder' && Array.isArray(worker?.topics) && worker.topics.length > 0
}

/** Where Redis is and who we are there: exactly one of `url`, `sentinel` and `cluster`. Secrets are read when a connection is made. */
export interface RedisConfig {
  readonly url?: string | Secret
  readonly sentinel?: {
    readonly nodes: readonly string[]
    readonly master: string
    readonly username?: string | undefined
    readonly password?: Secret
  }
  readonly cluster?: { readonly nodes: readonly string[] }
  readonly username?: string | undefined
  readonly password?: Secret
  readonly tls?: TlsConfig | undefined
  readonly commandTimeoutMilliseconds: number
}

/** Where Kafka is and who we are there. The secret is read when a connection signs in. */
export interface KafkaConfig {
  readonly brokers: readonly string[]
  readonly tls?: TlsConfig | undefined
  readonly sasl?: {
    readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
    readonly username: string
    readonly password: Secret
  }
}

type ConsulSettings = z.output<typeof consulRegistration>

/** This replica in Consul, see the schema. The token is read for each request. */
export type ConsulRegistrationConfig = Omit<ConsulSettings, 'token' | 'advertise'> & {
  readonly token?: Secret
  readonly advertise: { readonly host: string; readonly port: number }
}

type Resolved<T> = Omit<T, 'instance' | 'kafka' | 'redis'> & {
  readonly instance: string
  readonly kafka: KafkaConfig
  readonly redis: RedisConfig
}
type ParsedProxy = z.output<typeof proxy>
export type ProxyConfig = Omit<Resolved<ParsedProxy>, 'proxy'> & {
  readonly proxy: Omit<ParsedProxy['proxy'], 'registration'> & {
    readonly registration?: { readonly consul: ConsulRegistrationConfig }
  }
}
type ParsedWorker = z.output<typeof worker>
/** A receiver of callbacks, see the schema. The secret is read for each message. */
export type CallbackReceiver = Omit<z.output<typeof calledReceiver>, 'secret'> & { readonly secret: Secret }
export type WorkerConfig = Omit<Resolved<ParsedWorker>, 'worker'> & {
  readonly worker: Omit<ParsedWorker['worker'], 'callbacks'> & {
    readonly callbacks?: { readonly receivers: readonly CallbackReceiver[]; readonly giveUpAfterSeconds: number }
  }
}
export type SidecarConfig = ProxyConfig | WorkerConfig
/** What is written to the file, before defaults and with secrets by reference. */
export type SidecarConfigInput = z.input<typeof schema>
export type ProxyMethodConfig = z.output<typeof proxyMethod>
export type Delivery = ProxyMethodConfig['delivery']
export type RetryConfig = WorkerConfig['worker']['retry']
export type Ordering = WorkerConfig['worker']['ordering']

/** Thrown for an unusable configuration. `problems` has one line for each wrong value, each beginning with its path. */
export class ConfigError extends Error {
  readonly code = 'CONFIG_INVALID'
  readonly problems: readonly string[]
  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(
      `the configuration has ${problems.length} error(s):\n${problems.map((line) => `  ${line}`).join('\n')}`,
      options,
    )
    this.name = 'ConfigError'
    this.problems = problems
  }
}

const formatPath = (path: readonly PropertyKey[]): string =>
  path.length === 0
    ? '(root)'
    : path
        .map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`))
        .join('')

const flatten = (issues: readonly z.core.$ZodIssue[], base: readonly PropertyKey[] = []): string[] =>
  issues.flatMap((issue) => {
    const path = [...base, ...issue.path]
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => `${formatPath([...path, key])}: is not a setting`)
    }
    if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      // The alternative that got furthest is the one that was meant.
      const best = [...issue.errors].sort((a, b) => a.length - b.length)[0] ?? []
      return flatten(best, path)
    }
    return [`${formatPath(path)}: ${issue.message}`]
  })

/** Where a configuration may refer to secrets. */
const SECRET_PATHS = [
  ['kafka', 'sasl', 'password'],
  ['redis', 'url'],
  ['redis', 'password'],
  ['redis', 'sentinel', 'password'],
  ['proxy', 'registration', 'consul', 'token'],
] as const

/** And these, of each receiver. */
const RECEIVERS = ['worker', 'callbacks', 'receivers'] as const

function secretPaths(value: unknown): readonly (readonly PropertyKey[])[] {
  const receivers = at(value, RECEIVERS)
  return [
    ...SECRET_PATHS,
    ...(Array.isArray(receivers) ? receivers : []).map((_, index) => [...RECEIVERS, index, 'secret']),
  ]
}

const ADVERTISED_HOST = ['proxy', 'registration', 'consul', 'advertise', 'host'] as const

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Checks a parsed configuration and that its secrets can be read.
 * @param readFile  for secrets in files
 * @throws ConfigError naming every wrong value.
 */
export function parseConfig(
  value: unknown,
  environment: Environment,
  readFile: (path: string) => string = (path) => readFileSync(path, 'utf8'),
): SidecarConfig {
  const result = schema.safeParse(value)
  const secret = (reference: SecretReference) => new Secret(reference, environment, readFile)
  const instance = variableAt(value, ['instance'], instanceName, environment)
  const host = variableAt(value, ADVERTISED_HOST, advertisedHost, environment)
  const problems = [
    ...(result.success ? [] : flatten(result.error.issues)),
    ...instance.problems,
    ...host.problems,
    ...secretPaths(value).flatMap((path) => secretProblem(value, path, secret)),
  ]
  if (!result.success || problems.length > 0) throw new ConfigError(problems)
  const { kafka, redis } = result.data
  const resolved = {
    instance: instance.text,
    kafka: kafkaConfig(kafka, secret),
    redis: redisConfig(redis, secret),
  }
  if (result.data.role === 'worker') {
    const { callbacks, ...worker } = result.data.worker
    return {
      ...result.data,
      ...resolved,
      worker: {
        ...worker,
        ...(callbacks !== undefined && {
          callbacks: {
            ...callbacks,
            receivers: callbacks.receivers.map((one) => ({ ...one, secret: secret(one.secret) })),
          },
        }),
      },
    }
  }
  const { registration, ...proxy } = result.data.proxy
  return {
    ...result.data,
    ...resolved,
    proxy: {
      ...proxy,
      ...(registration !== undefined && {
        registration: { consul: consulConfig(registration.consul, host.text, secret) },
      }),
    },
  }
}

const consulConfig = (
  { token, advertise, ...rest }: ConsulSettings,
  host: string,
  secret: (reference: SecretReference) => Secret,
): ConsulRegistrationConfig => ({
  ...rest,
  ...(token !== undefined && { token: secret(token) }),
  advertise: { ...advertise, host },
})

/** The text at a path, from a variable where the configuration says so; whatever else is wrong with it. */
function variableAt(
  value: unknown,
  path: readonly string[],
  schema: z.ZodType<string>,
  environment: Environment,
): { readonly text: string; readonly problems: readonly string[] } {
  const given = at(value, path)
  if (typeof given === 'string') return { text: given, problems: [] }
  const { data: reference } = z.strictObject({ env: name(256) }).safeParse(given)
  if (reference === undefined) return { text: '', problems: [] }
  const { data: found, error } = schema.safeParse(
    Object.hasOwn(environment, reference.env) ? environment[reference.env] : undefined,
  )
  const where = formatPath([...path, 'env'])
  const problems = error?.issues.map(({ message }) => `${where}: the variable ${reference.env}: ${message}`) ?? []
  return { text: found ?? '', problems }
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let found = value
  for (const key of path) found = (found as Record<PropertyKey, unknown> | null | undefined)?.[key]
  return found
}

const kafkaConfig = (
  { sasl, ...rest }: z.output<typeof kafka>,
  secret: (reference: SecretReference) => Secret,
): KafkaConfig => ({
  ...rest,
  ...(sasl !== undefined && { sasl: { ...sasl, password: secret(sasl.password) } }),
})

function redisConfig(
  { url, sentinel, cluster, password, ...rest }: z.output<typeof redis>,
  secret: (reference: SecretReference) => Secret,
): RedisConfig {
  return {
    ...rest,
    ...(password !== undefined && { password: secret(password) }),
    ...(url !== undefined && { url: typeof url === 'string' ? url : secret(url) }),
    ...(sentinel !== undefined && { sentinel: withPassword(sentinel, secret) }),
    ...(cluster !== undefined && { cluster }),
  }
}

function withPassword<T extends { readonly password?: SecretReference | undefined }>(
  { password, ...rest }: T,
  secret: (reference: SecretReference) => Secret,
): Omit<T, 'password'> & { readonly password?: Secret } {
  return { ...rest, ...(password !== undefined && { password: secret(password) }) }
}

/** What is wrong with the secret at a path, whatever else is wrong with the configuration. */
function secretProblem(
  value: unknown,
  path: readonly PropertyKey[],
  secret: (reference: SecretReference) => Secret,
): readonly string[] {
  const { data: reference } = secretReference.safeParse(at(value, path))
  if (reference === undefined) return []
  try {
    secret(reference).read()
    return []
  } catch (error) {
    if (!(error instanceof SecretError)) throw error
    return [`${formatPath([...path, ...Object.keys(reference)])}: ${error.message}`]
  }
}

/**
 * Reads the configuration file.
 * @throws ConfigError when it cannot be read, is not JSON, or holds a wrong value.
 */
export function loadConfig(file: string, environment: Readonly<Record<string, string | undefined>>): SidecarConfig {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new ConfigError([`(file): ${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'})`], {
      cause,
    })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    // The parser's own message quotes the text, which may be somebody's secret put in the wrong place.
    throw new ConfigError([`(file): ${file} is not JSON`], { cause })
  }
  return parseConfig(value, environment)
}
