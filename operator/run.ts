/** The operator's process from its configuration to its end. */
import { KubeConfig } from '@kubernetes/client-node'
import { pino } from 'pino'
import type { Logger } from 'pino'
import type { OperatorConfig } from './config.ts'
import { createContext } from './context.ts'
import type { OperatorContext } from './context.ts'
import { pause, systemClock } from './controller/clock.ts'
import { probe, servePages } from './controller/health-server.ts'
import { ControllerMetrics } from './controller/metrics.ts'
import type { Resource } from './controller/object.ts'
import { tooOld } from './server-version.ts'
import type { ServerVersion } from './server-version.ts'

/** What an operator does. */
export interface OperatorParts {
  /** Of every kind that is applied. */
  readonly written: readonly Resource[]
  /** Adds informers and controllers to the manager. */
  readonly addControllers: (context: OperatorContext) => void
  /** Called when no reconcile runs any more. */
  readonly close?: () => Promise<void>
}

const VERSION_RETRY_MILLISECONDS = 2000

/**
 * Probes and metrics first, so that whoever starts it sees what it waits for; then the API server's version; then the manager.
 * Ends the process: with 0 after SIGTERM or SIGINT, with 1 when the leadership is lost or something is wrong with it.
 */
export async function runOperator(config: OperatorConfig, parts: OperatorParts): Promise<never> {
  const output = pino.destination({ fd: 1, sync: true })
  const logger = pino(
    {
      level: config.logLevel,
      base: { instance: config.instance },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    output,
  )
  process.on('exit', () => {
    try {
      output.flushSync()
    } catch {
      // Nobody reads the last lines any more.
    }
  })
  process.on('uncaughtException', (error, origin) => {
    logger.fatal({ err: error, origin }, 'a fault of the operator')
    process.exit(1)
  })
  const stop = stopAtSignals(logger)
  try {
    await serve(config, parts, logger, stop)
  } catch (error) {
    logger.fatal({ err: error }, 'the operator ends')
    process.exit(1)
  }
  logger.info('ended')
  process.exit(0)
}

async function serve(
  config: OperatorConfig,
  { written, addControllers, close }: OperatorParts,
  logger: Logger,
  stop: AbortSignal,
): Promise<void> {
  const metrics = new ControllerMetrics()
  metrics.addProcessMetrics()
  const kubeConfig = kubeConfigOf(config)
  const clock = systemClock
  const context = createContext({ config, kubeConfig, clock, random: Math.random, logger, metrics, written })
  const { manager } = context
  addControllers(context)
  const { listenHost, healthPort, metricsPort } = config
  const probes = {
    '/healthz': probe(() => manager.unhealthy()),
    '/readyz': probe(() => manager.notReady()),
  }
  const exposition = async () => ({ status: 200, text: await metrics.expose(), type: metrics.contentType })
  const servers = await Promise.all([
    servePages(listenHost, healthPort, probes, logger),
    servePages(listenHost, metricsPort, { '/metrics': exposition }, logger),
  ])
  logger.info({ healthPort: servers[0].port, metricsPort: servers[1].port }, 'probes and metrics')
  await checkServer(context, stop)
  await manager.run(stop)
  await close?.()
  context.close()
  await Promise.all(servers.map((server) => server.close()))
}

/** @throws when there is none, or it cannot be read. */
function kubeConfigOf({ kubeconfig }: OperatorConfig): KubeConfig {
  const loaded = new KubeConfig()
  if (kubeconfig === undefined) loaded.loadFromDefault()
  else loaded.loadFromFile(kubeconfig)
  return loaded
}

/** Waits until the API server answers. @throws when it is too old. */
async function checkServer({ client, clock, logger }: OperatorContext, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    let version: ServerVersion
    try {
      version = (await client.request({ method: 'GET', path: '/version' }, stop)) as ServerVersion
    } catch (error) {
      if (!stop.aborted) logger.warn({ err: error }, 'the API server does not answer yet')
      await pause(clock, VERSION_RETRY_MILLISECONDS, stop)
      continue
    }
    const problem = tooOld(version)
    if (problem !== undefined) throw new Error(problem)
    logger.info({ version: version.gitVersion }, 'the API server')
    return
  }
}

/** The first SIGTERM or SIGINT asks for an end in order, the second for one at once. */
function stopAtSignals(logger: Logger): AbortSignal {
  const stop = new AbortController()
  const end = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) {
      logger.warn({ signal }, 'asked twice: ending at once')
      process.exit(1)
    }
    logger.info({ signal }, 'draining')
    stop.abort(new Error(`the process got ${signal}`))
  }
  process.on('SIGTERM', end)
  process.on('SIGINT', end)
  return stop.signal
}
