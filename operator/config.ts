/**
 * What the operator is told at its start: flags, or variables of the environment where there is no flag, or the default.
 * Every wrong value is reported at once.
 */

export interface OperatorConfig {
  /** Undefined: KUBECONFIG, `~/.kube/config`, or the pod's ServiceAccount. */
  readonly kubeconfig?: string
  /** Empty: all. */
  readonly namespaces: readonly string[]
  readonly sidecarImage: string
  /** Reconciles of one kind at once. */
  readonly concurrency: number
  readonly resyncMilliseconds: number
  /** A watch on which nothing comes for so long is begun anew. */
  readonly silenceMilliseconds: number
  readonly reconcileTimeoutMilliseconds: number
  /** How long what a deleted resource leaves at Kafka is tried to be deleted; in Consul half of it. */
  readonly deletionPatienceMilliseconds: number
  readonly drainMilliseconds: number
  readonly logLevel: LogLevel
  readonly listenHost: string
  readonly healthPort: number
  readonly metricsPort: number
  /** 0: no limit of our own. */
  readonly kubeQps: number
  readonly kubeBurst: number
  readonly leaderElection: {
    readonly id: string
    readonly namespace: string
    readonly leaseMilliseconds: number
    readonly renewDeadlineMilliseconds: number
    readonly retryMilliseconds: number
  }
  readonly topicPrefixes: TopicPrefixes
  /** Of this Kubernetes cluster, among those that register in one Consul. Empty: it has none. */
  readonly clusterName: string
  /** The pod's name, else the host's. */
  readonly instance: string
}

/** Namespace (`*`: every other one) -> beginnings of which a topic's name must have one. Not listed: any name. */
export type TopicPrefixes = ReadonlyMap<string, readonly string[]>

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const
type LogLevel = (typeof LOG_LEVELS)[number]

/** Every wrong value. `code` is `CONFIG`. */
export class OperatorConfigError extends Error {
  readonly code = 'CONFIG'
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`the operator cannot start:\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
    this.name = 'OperatorConfigError'
    this.problems = problems
  }
}

/** A value that is not what it should be; the message says what it should. */
class WrongValue extends Error {}

interface Setting<T> {
  /** Absent: it must be given. */
  readonly default?: string
  /** Also read from this variable, before the default. */
  readonly variable?: string
  readonly parse: (text: string) => T
  readonly help: string
}

const setting = <T>(settings: Setting<T>): Setting<T> => settings

const SETTINGS = {
  kubeconfig: setting({
    default: '',
    parse: (text) => text,
    help: "file; default: KUBECONFIG, ~/.kube/config or the pod's ServiceAccount",
  }),
  namespaces: setting({ default: '', parse: names, help: 'watched namespaces, with commas between; default: all' }),
  'sidecar-image': setting({ parse: image, help: 'image of proxies and workers' }),
  concurrency: setting({ default: '4', parse: integer(1, 256), help: 'reconciles of one kind at once' }),
  'resync-seconds': setting({ default: '600', parse: seconds(1, 86_400), help: 'everything is looked at so often' }),
  'watch-silence-seconds': setting({
    default: '150',
    parse: seconds(1, 3600),
    help: 'a silent watch is begun anew; the API server says something each minute',
  }),
  'deletion-patience-seconds': setting({
    default: '120',
    parse: seconds(2, 86_400),
    help: 'how long deleting topics is tried, after the drain; in Consul half as long',
  }),
  'reconcile-timeout-seconds': setting({ default: '120', parse: seconds(1, 3600), help: 'for one reconcile' }),
  'drain-seconds': setting({ default: '20', parse: seconds(0, 600), help: 'for reconciles that run at SIGTERM' }),
  'log-level': setting({ default: 'info', parse: logLevel, help: LOG_LEVELS.join(', ') }),
  'listen-host': setting({ default: '0.0.0.0', parse: (text) => text, help: 'address of probes and metrics' }),
  'health-port': setting({ default: '8081', parse: integer(0, 65_535), help: '/healthz and /readyz; 0: any' }),
  'metrics-port': setting({ default: '8080', parse: integer(0, 65_535), help: '/metrics; 0: any' }),
  'kube-qps': setting({
    default: '0',
    parse: integer(0, 10_000),
    help: 'requests to the API server per second; 0: as many as it takes (API Priority and Fairness)',
  }),
  'kube-burst': setting({
    default: '30',
    parse: integer(1, 10_000),
    help: 'requests at once, where --kube-qps is not 0',
  }),
  'leader-elect-id': setting({ default: 'grpc-kafka-operator', parse: name, help: "the Lease's name" }),
  'leader-elect-namespace': setting({
    default: 'default',
    variable: 'POD_NAMESPACE',
    parse: name,
    help: "the Lease's namespace; default: POD_NAMESPACE",
  }),
  'leader-elect-lease-seconds': setting({ default: '15', parse: seconds(1, 3600), help: 'as client-go' }),
  'leader-elect-renew-deadline-seconds': setting({ default: '10', parse: seconds(1, 3600), help: 'as client-go' }),
  'leader-elect-retry-seconds': setting({ default: '2', parse: seconds(1, 600), help: 'as client-go' }),
  'topic-prefix-allow-list': setting({
    default: '',
    parse: topicPrefixes,
    help: 'how topics may begin, by namespace: team-a=a.,shared.;*=other.',
  }),
  'cluster-name': setting({
    default: '',
    parse: (text) => (text === '' ? '' : name(text)),
    help: 'of this Kubernetes cluster in Consul; no other one that registers there may have it',
  }),
}

type Settings = typeof SETTINGS
type Values = { readonly [Name in keyof Settings]: ReturnType<Settings[Name]['parse']> }

/** The variable of the environment for a flag: `--kube-qps` is `OPERATOR_KUBE_QPS`. */
const variableOf = (flag: string): string => `OPERATOR_${flag.toUpperCase().replaceAll('-', '_')}`

/** What `--help` prints. */
export function usage(): string {
  const lines = Object.entries<Setting<unknown>>(SETTINGS).map(([flag, { default: value, help }]) => {
    const given = value === undefined ? 'required' : value === '' ? '' : `default ${value}`
    return `  --${flag.padEnd(36)}${help}${given === '' ? '' : ` (${given})`}`
  })
  return `usage: node operator/main.ts [--FLAG=VALUE]...\n\n${lines.join('\n')}\n\nEach flag is also read from the environment: --kube-qps is ${variableOf('kube-qps')}.\n`
}

/**
 * @param args without the program's name: `--flag=value` or `--flag value`.
 * @param host the machine's name.
 * @throws OperatorConfigError with everything that is wrong.
 */
export function readConfig(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  host: string,
): OperatorConfig {
  const problems: string[] = []
  const flags = readFlags(args, problems)
  const values: Record<string, unknown> = {}
  for (const [flag, setting] of Object.entries<Setting<unknown>>(SETTINGS)) {
    const text =
      flags.get(flag) ??
      environment[variableOf(flag)] ??
      (setting.variable === undefined ? undefined : environment[setting.variable]) ??
      setting.default
    if (text === undefined) {
      problems.push(`--${flag} must be given`)
      continue
    }
    try {
      values[flag] = setting.parse(text)
    } catch (error) {
      if (!(error instanceof WrongValue)) throw error
      problems.push(`--${flag}=${text} ${error.message}`)
    }
  }
  const known = values as Values
  const lease = known['leader-elect-lease-seconds']
  const renew = known['leader-elect-renew-deadline-seconds']
  const retry = known['leader-elect-retry-seconds']
  // client-go asks for the same (`NewLeaderElector`): whoever cannot renew gives up before others may take over.
  if (lease <= renew) problems.push('--leader-elect-lease-seconds must be above --leader-elect-renew-deadline-seconds')
  if (renew <= 1.2 * retry) {
    problems.push('--leader-elect-renew-deadline-seconds must be above 1.2 times --leader-elect-retry-seconds')
  }
  if (problems.length > 0) throw new OperatorConfigError(problems)
  return {
    ...(known.kubeconfig !== '' && { kubeconfig: known.kubeconfig }),
    namespaces: known.namespaces,
    sidecarImage: known['sidecar-image'],
    concurrency: known.concurrency,
    resyncMilliseconds: known['resync-seconds'],
    silenceMilliseconds: known['watch-silence-seconds'],
    deletionPatienceMilliseconds: known['deletion-patience-seconds'],
    reconcileTimeoutMilliseconds: known['reconcile-timeout-seconds'],
    drainMilliseconds: known['drain-seconds'],
    logLevel: known['log-level'],
    listenHost: known['listen-host'],
    healthPort: known['health-port'],
    metricsPort: known['metrics-port'],
    kubeQps: known['kube-qps'],
    kubeBurst: known['kube-burst'],
    leaderElection: {
      id: known['leader-elect-id'],
      namespace: known['leader-elect-namespace'],
      leaseMilliseconds: lease,
      renewDeadlineMilliseconds: renew,
      retryMilliseconds: retry,
    },
    topicPrefixes: known['topic-prefix-allow-list'],
    clusterName: known['cluster-name'],
    instance: environment['POD_NAME'] ?? host,
  }
}

/** Whether the topic may have that name in that namespace. */
export function mayNameTopic(prefixes: TopicPrefixes, namespace: string, topic: string): boolean {
  const allowed = prefixes.get(namespace) ?? prefixes.get('*')
  return allowed === undefined || allowed.some((prefix) => topic.startsWith(prefix))
}

function readFlags(args: readonly string[], problems: string[]): ReadonlyMap<string, string> {
  const flags = new Map<string, string>()
  for (let index = 0; index < args.length; index++) {
    const [, flag, inline] = /^--([a-z-]+)(?:=(.*))?$/s.exec(args[index]!) ?? []
    if (flag === undefined || !Object.hasOwn(SETTINGS, flag)) {
      problems.push(`there is no ${args[index]}`)
      continue
    }
    const value = inline ?? args[++index]
    if (value === undefined) problems.push(`--${flag} needs a value`)
    else if (flags.has(flag)) problems.push(`--${flag} is given twice`)
    else flags.set(flag, value)
  }
  return flags
}

function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : NaN
    if (value >= least && value <= most) return value
    throw new WrongValue(`must be a whole number from ${least} to ${most}`)
  }
}

/** Answers milliseconds. */
function seconds(least: number, most: number): (text: string) => number {
  const whole = integer(least, most)
  return (text) => whole(text) * 1000
}

function name(text: string): string {
  if (text.length <= 63 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(text)) return text
  throw new WrongValue('must be a name of lower-case letters, digits and hyphens')
}

function names(text: string): readonly string[] {
  return text === '' ? [] : [...new Set(text.split(',').map((part) => name(part.trim())))]
}

function image(text: string): string {
  if (/^[a-zA-Z0-9][^\s]{0,511}$/.test(text)) return text
  throw new WrongValue("must be an image's name")
}

function logLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((one) => one === text)
  if (level !== undefined) return level
  throw new WrongValue(`must be one of ${LOG_LEVELS.join(', ')}`)
}

function topicPrefixes(text: string): TopicPrefixes {
  const prefixes = new Map<string, readonly string[]>()
  for (const part of text.split(';').filter((one) => one.trim() !== '')) {
    const [, namespace, list] = /^\s*(\*|[a-z0-9-]+)=(.*)$/.exec(part) ?? []
    const allowed = (list ?? '').split(',').map((one) => one.trim())
    if (namespace === undefined || !allowed.every((one) => /^[a-zA-Z0-9._-]{1,249}$/.test(one))) {
      throw new WrongValue('must be NAMESPACE=PREFIX,PREFIX with semicolons between')
    }
    if (prefixes.has(namespace)) throw new WrongValue(`names ${namespace} twice`)
    prefixes.set(namespace, allowed)
  }
  return prefixes
}
