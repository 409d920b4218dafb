/**
 * Runs routes on this machine: for each service its topics and proxies, for each group as many workers as it has
 * replicas, each a handler's process with a sidecar beside it.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { proxyConfig } from '../operator/calculateservice/proxy-config.ts'
import { workerConfig } from '../operator/consumergroup/worker-config.ts'
import { retryStepsOf } from '../operator/calculateservice/retry-steps.ts'
import { desiredTopics } from '../operator/kafka/topics.ts'
import type { Placement } from '../operator/placement.ts'
import type { CalculateService } from '../crds/types.ts'
import { describeExit, startChild, tail, type Child } from './child.ts'
import type { Infrastructure } from './infrastructure.ts'
import { ensureTopics } from './kafka/admin.ts'
import { freePort } from './platform/free-port.ts'
import type { ProxyPort } from './ports.ts'
import type { Report } from './report.ts'
import { handlerProcess } from './resources/handler.ts'
import type { GroupRoute, Route } from './resources/resolve.ts'
import { REDIS_URL_VARIABLE, sidecarFiles, startSidecar, untilReady, writeConfig } from './sidecar-process.ts'
import { supervise, type Supervised } from './supervisor.ts'

const HOST = '127.0.0.1'
const READY_MILLISECONDS = 60_000
const HANDLER_GRACE_MILLISECONDS = 10_000
/** Beyond the time that a sidecar takes to drain by itself. */
const SIDECAR_GRACE_MILLISECONDS = 8_000
/** A handler that ends this often before the route is up will not come up. */
const HANDLER_TRIES = 3

export type RunningProxy = {
  readonly name: string
  readonly service: CalculateService
  /** `host:port`, what clients call. */
  readonly address: string
  /** `http://host:port` of /metrics, /healthz and /readyz. */
  readonly adminUrl: string
  readonly process: Supervised
}

export type RunningWorker = {
  readonly name: string
  readonly adminUrl: string
  readonly process: Supervised
  readonly handler: Supervised
  /** `host:port` where the handler listens now. */
  readonly handlerAddress: string
  /**
   * Kills the handler and starts it on another port, which the worker is told while it runs.
   * @throws Error when the handler does not read its port from PORT
   */
  moveHandler(): Promise<void>
}

export type RunningRoutes = {
  readonly proxies: readonly RunningProxy[]
  readonly workers: readonly RunningWorker[]
  /** Proxies, then workers, then handlers: no call that was taken loses the one who answers it. */
  stop(): Promise<void>
}

export type RouteOptions = {
  readonly routes: readonly Route[]
  readonly infrastructure: Infrastructure
  /** For configuration, markers and logs. */
  readonly directory: string
  /** Every proxy that is to run, with the port that clients call. */
  readonly proxyPorts: readonly ProxyPort[]
  /** A FileDescriptorSet for the proxies' reflection. */
  readonly descriptorSetFile?: string
  /** Added to every handler's environment. */
  readonly handlerEnvironment?: Readonly<Record<string, string>>
  readonly report: Report
  /** Gets what handlers print. */
  readonly handlerLine: (name: string, text: string) => void
}

/** The route did not come up. `code` is `ROUTE_FAILED`. */
export class RouteError extends Error {
  readonly code = 'ROUTE_FAILED'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'RouteError'
  }
}

/** What the parts of one run share. */
type Run = RouteOptions & {
  /** Makes instances unique where two runs use one Redis. */
  readonly id: string
  /** Ends the start with an error that tells why. */
  readonly fail: (error: Error) => void
  /** Aborted when the start has failed or was interrupted. */
  readonly starting: AbortSignal
}

/**
 * Starts everything and waits until all of it is ready.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws RouteError, StartError, TopicError
 */
export async function runRoutes(options: RouteOptions, signal: AbortSignal): Promise<RunningRoutes> {
  const { routes, infrastructure, report } = options
  const failure = new AbortController()
  let up = false
  const run: Run = {
    ...options,
    id: randomBytes(3).toString('hex'),
    fail: (error) => {
      if (!up) failure.abort(error)
    },
    starting: AbortSignal.any([signal, failure.signal]),
  }
  for (const { service, groups } of routes) {
    const policies = groups.flatMap(({ group, policy }) =>
      // Calls with an order are tried again in their place.
      group.spec.role === 'Responder' && group.spec.ordering === 'None' && policy !== undefined ? [policy] : [],
    )
    const retrySteps = retryStepsOf(service, policies)
    const done = await ensureTopics(infrastructure.brokers, (brokers) =>
      desiredTopics(service, { retrySteps, brokers }),
    )
    for (const line of done) report(line)
  }
  signal.throwIfAborted()

  const proxies: RunningProxy[] = []
  const workers: RunningWorker[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(proxies.map(({ process, service }) => process.stop(proxyGrace(service))))
    await Promise.all(workers.map(({ process }) => process.stop(LONGEST_WORKER_STOP_MILLISECONDS)))
    await Promise.all(workers.map(({ handler }) => handler.stop(HANDLER_GRACE_MILLISECONDS)))
  }
  try {
    const workerPlan = routes.flatMap(({ service, groups }) =>
      groups.flatMap((group) =>
        Array.from({ length: group.group.spec.replicas }, (_, index) => ({ service, group, index })),
      ),
    )
    const started = await Promise.allSettled([
      ...workerPlan.map(async ({ service, group, index }) => {
        workers.push(await startWorker(run, service, group, index))
      }),
      ...options.proxyPorts.map(async ({ service, index, port }) => {
        proxies.push(await startProxy(run, service, index, port))
      }),
    ])
    const failed = started.find((one) => one.status === 'rejected')
    if (failed) throw failed.reason
    await Promise.all([...proxies, ...workers].map((part) => awaitReady(run, part)))
    up = true
    run.starting.throwIfAborted()
  } catch (error) {
    await stop()
    throw error
  }
  const byName = (a: { readonly name: string }, b: { readonly name: string }): number => a.name.localeCompare(b.name)
  return { proxies: proxies.sort(byName), workers: workers.sort(byName), stop }
}

/** A worker ends by itself within its own grace; this is for one that hangs. */
const LONGEST_WORKER_STOP_MILLISECONDS = 60_000

const proxyGrace = (service: CalculateService): number =>
  Math.max(...service.spec.methods.map(({ timeoutMilliseconds }) => timeoutMilliseconds)) + SIDECAR_GRACE_MILLISECONDS

async function startProxy(run: Run, service: CalculateService, index: number, port: number): Promise<RunningProxy> {
  const name = `${service.metadata.name}-proxy-${index}`
  const admin = { host: HOST, port: await freePort() }
  const files = sidecarFiles(run.directory, name)
  await writeConfig(
    files.config,
    proxyConfig(service, {
      ...placement(run, name),
      admin,
      listen: { host: HOST, port },
      registration: { host: HOST, access: consulAccess(globalThis.process.env) },
      ...(run.descriptorSetFile === undefined ? {} : { descriptorSetFile: run.descriptorSetFile }),
    }),
  )
  const process = await superviseSidecar(run, name, files)
  return { name, service, process, address: `${HOST}:${port}`, adminUrl: `http://${HOST}:${admin.port}` }
}

/** There are no Secrets on one machine: what signs in at Consul is named as Consul's own programs have it. */
const consulAccess = ({ CONSUL_HTTP_TOKEN = '', CONSUL_CACERT = '' }: NodeJS.ProcessEnv) => ({
  ...(CONSUL_HTTP_TOKEN === '' ? {} : { token: { env: 'CONSUL_HTTP_TOKEN' } }),
  ...(CONSUL_CACERT === '' ? {} : { caFile: CONSUL_CACERT }),
})

/** Neither are there keys for callbacks: all receivers have one. Without it nobody is told. */
const callbackPlacement = ({
  GRPC_KAFKA_CALLBACK_SECRET = '',
  GRPC_KAFKA_CALLBACK_PORT = '',
}: NodeJS.ProcessEnv): NonNullable<Placement['callbacks']> =>
  GRPC_KAFKA_CALLBACK_SECRET === ''
    ? 'None'
    : {
        secret: { env: 'GRPC_KAFKA_CALLBACK_SECRET' },
        receivers:
          GRPC_KAFKA_CALLBACK_PORT === '' ? [] : [{ ...ON_THIS_MACHINE, port: Number(GRPC_KAFKA_CALLBACK_PORT) }],
      }

/** What no resource can say. */
const ON_THIS_MACHINE = { host: 'localhost', scheme: 'HTTP', network: 'Loopback' } as const

async function startWorker(
  run: Run,
  service: CalculateService,
  route: GroupRoute,
  index: number,
): Promise<RunningWorker> {
  const { group, handler } = route
  const name = `${group.metadata.name}-worker-${index}`
  const handlerName = `${group.metadata.name}-handler-${index}`
  const admin = { host: HOST, port: await freePort() }
  const files = sidecarFiles(run.directory, name)
  let handlerPort = handler.ownPort ? await freePort() : group.spec.handler.port

  const configure = (): Promise<void> =>
    writeConfig(
      files.config,
      workerConfig(group, service, route.policy, {
        ...placement(run, name),
        admin,
        handler: { host: HOST, port: handlerPort },
        uncleanEndMarker: join(run.directory, `${name}.running`),
      }),
    )
  await configure()
  let lastLine = ''
  const handlerSupervised = await supervise({
    name: handlerName,
    report: run.report,
    start: () => {
      const { command, args, environment } = handlerProcess(handler, handlerPort)
      return startChild({
        name: handlerName,
        command,
        args,
        directory: route.directory,
        environment: { ...process.env, ...environment, ...run.handlerEnvironment },
        output: {
          line: (text) => {
            lastLine = text
            run.handlerLine(handlerName, text)
          },
        },
      })
    },
    onExit: (exit, failures) => {
      if (failures < HANDLER_TRIES) return
      run.fail(
        new RouteError(
          `${handlerName}: "${handler.command.join(' ')}" ended ${failures} times, last with ${describeExit(exit)}${lastLine === '' ? '' : `: ${lastLine}`}`,
        ),
      )
    },
  })
  let worker: Supervised
  try {
    worker = await superviseSidecar(run, name, files)
  } catch (error) {
    await handlerSupervised.stop(HANDLER_GRACE_MILLISECONDS)
    throw error
  }
  return {
    name,
    adminUrl: `http://${HOST}:${admin.port}`,
    process: worker,
    handler: handlerSupervised,
    get handlerAddress() {
      return `${HOST}:${handlerPort}`
    },
    moveHandler: async () => {
      if (!handler.ownPort) throw new RouteError(`${handlerName} cannot move: its container has no variable PORT`)
      handlerPort = await freePort()
      await configure()
      handlerSupervised.child?.kill('SIGKILL')
      worker.child?.kill('SIGHUP')
    },
  }
}

const placement = (run: Run, name: string) => ({
  instance: `${name.slice(-110)}-${run.id}`,
  kafkaBrokers: run.infrastructure.brokers,
  redisUrl: { env: REDIS_URL_VARIABLE },
  callbacks: callbackPlacement(globalThis.process.env),
})

const superviseSidecar = (run: Run, name: string, files: ReturnType<typeof sidecarFiles>): Promise<Supervised> =>
  supervise({
    name,
    report: run.report,
    start: (): Promise<Child> => startSidecar(name, run.directory, files, run.infrastructure.redisUrl),
    onExit: (exit) => {
      void tail(files.log, 5).then((log) => {
        run.fail(new RouteError(`${name} ended with ${describeExit(exit)}; the end of its log:\n${log}`))
      })
    },
  })

async function awaitReady(run: Run, part: { readonly name: string; readonly adminUrl: string }): Promise<void> {
  const late = AbortSignal.timeout(READY_MILLISECONDS)
  let reason = ''
  try {
    await untilReady(part.adminUrl, AbortSignal.any([run.starting, late]), (given) => {
      reason = given
    })
  } catch (cause) {
    run.starting.throwIfAborted()
    const log = await tail(sidecarFiles(run.directory, part.name).log, 5)
    throw new RouteError(
      `${part.name} was not ready within ${READY_MILLISECONDS / 1000} s: ${reason}; the end of its log:\n${log}`,
      { cause },
    )
  }
}
