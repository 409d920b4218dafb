/** The operator: `node operator/main.ts --help` lists its flags. */
import { hostname } from 'node:os'
import { KubeConfig } from '@kubernetes/client-node'
import { pino } from 'pino'
import type { Logger } from 'pino'
import { addServiceController, WRITTEN_FOR_SERVICES } from './calculateservice/controller.ts'
import { OperatorConfigError, readConfig, usage } from './config.ts'
import type { OperatorConfig } from './config.ts'
import { createContext } from './context.ts'
import type { OperatorContext } from './context.ts'
import { pause, systemClock } from './controller/clock.ts'
import { probe, servePages } from './controller/health-server.ts'
import { ControllerMetrics } from './controller/metrics.ts'
import { KafkaTopicAdmin } from './kafka/topic-admin.ts'
import { TopicAdmins } from './kafka/topic-admins.ts'
import { tooOld } from './server-version.ts'
import type { ServerVersion } from './server-version.ts'

const VERSION_RETRY_MILLISECONDS = 2000

if (process.argv.includes('--help')) {
  process.stdout.write(usage())
  process.exit(0)
}
const config = readConfiguration()
const logger = pino({
  level: config.logLevel,
  base: { instance: config.instance },
  timestamp: pino.stdTimeFunctions.isoTime,
  formatters: { level: (label) => ({ level: label }) },
})
process.on('uncaughtException', (error, origin) => {
  logger.fatal({ err: error, origin }, 'a fault of the operator')
  process.exit(1)
})
await run(config, logger)

function readConfiguration(): OperatorConfig {
  try {
    return readConfig(process.argv.slice(2), process.env, hostname())
  } catch (error) {
    if (!(error instanceof OperatorConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
}

async function run(config: OperatorConfig, logger: Logger): Promise<void> {
  const metrics = new ControllerMetrics()
  metrics.addProcessMetrics()
  const context = createContext({
    config,
    kubeConfig: kubeConfigOf(config),
    clock: systemClock,
    random: Math.random,
    logger,
    metrics,
    written: WRITTEN_FOR_SERVICES,
  })
  const { manager } = context
  const kafka = new TopicAdmins(systemClock, (access) => new KafkaTopicAdmin(access))
  addServiceController(context, kafka)
  const stop = stopAtSignals(logger)
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
  try {
    await checkServer(context, stop)
    await manager.run(stop)
  } catch (error) {
    logger.fatal({ err: error }, 'the operator ends')
    process.exit(1)
  }
  await Promise.all([kafka.close(), ...servers.map((server) => server.close())])
  context.close()
  logger.info('ended')
  process.exit(0)
}

function kubeConfigOf({ kubeconfig }: OperatorConfig): KubeConfig {
  const loaded = new KubeConfig()
  try {
    if (kubeconfig === undefined) loaded.loadFromDefault()
    else loaded.loadFromFile(kubeconfig)
  } catch (error) {
    process.stderr.write(`the kubeconfig cannot be read: ${(error as Error).message}\n`)
    process.exit(1)
  }
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
