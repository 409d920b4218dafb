/** The sidecar: `node sidecar/main.ts --config FILE` runs the role that the file names. */
import { parseArgs } from 'node:util'
import { ConfigError, loadConfig } from './config.ts'
import type { ProxyConfig, SidecarConfig, WorkerConfig } from './config.ts'
import { ConfigWatcher } from './config-watcher.ts'
import { LiveConfig } from './live-config.ts'
import { startProxy } from './proxy/proxy.ts'
import type { RunningSidecar } from './role.ts'
import { startAdminServer } from './telemetry/admin-server.ts'
import { measureEventLoopDelay } from './telemetry/event-loop-delay.ts'
import { createLogger, endLog } from './telemetry/log.ts'
import type { Logger } from './telemetry/log.ts'
import { Metrics } from './telemetry/metrics.ts'
import { startWorker } from './worker/worker.ts'

const USAGE = 'usage: node sidecar/main.ts --config FILE'

const file = configFile()
const config = readConfig(file)
const logger = createLogger(config.log.level, {
  service: config.service.name,
  role: config.role,
  instance: config.instance,
})
process.on('uncaughtException', (error, origin) => {
  logger.fatal({ err: error, origin }, 'a fault of the sidecar')
  process.exit(1)
})
await run(file, config, logger)

function configFile(): string {
  try {
    const { values } = parseArgs({ options: { config: { type: 'string' } } })
    if (values.config !== undefined) return values.config
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
  }
  process.stderr.write(`${USAGE}\n`)
  process.exit(1)
}

function readConfig(path: string): SidecarConfig {
  try {
    return loadConfig(path, process.env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
}

async function run(path: string, config: SidecarConfig, logger: Logger): Promise<void> {
  const metrics = new Metrics()
  metrics.addProcessMetrics()
  measureEventLoopDelay(metrics)
  const live = new LiveConfig(config)
  live.subscribe(({ log }) => (logger.level = log.level))
  let sidecar: RunningSidecar
  try {
    sidecar = await startRole(live, logger, metrics)
  } catch (error) {
    logger.fatal(error instanceof ConfigError ? { problems: error.problems } : { err: error }, 'cannot start')
    process.exit(1)
  }
  metrics.gaugeFrom('grpc_kafka_ready', {}, () => (sidecar.ready().ready ? 1 : 0))
  const admin = await startAdminServer({
    host: config.admin.host,
    port: config.admin.port,
    metrics,
    logger,
    live: () => true,
    ready: () => sidecar.ready(),
    profiling: () => live.current.admin.profiling === 'Enabled',
    ...(sidecar.quiesce !== undefined && { quiesce: async () => sidecar.quiesce?.() }),
  })
  logger.info({ port: admin.port }, 'metrics and probes')
  const watcher = new ConfigWatcher({ file: path, environment: process.env, live, logger, metrics })
  watcher.start()

  let draining = false
  const drain = (signal: NodeJS.Signals): void => {
    if (draining) {
      logger.warn({ signal }, 'asked twice: ending at once')
      process.exit(1)
    }
    draining = true
    watcher.close()
    logger.info({ signal }, 'draining')
    void sidecar
      .drain()
      .then(() => admin.close())
      .then(() => endLog(logger))
      .then(() => process.exit(0))
  }
  process.on('SIGTERM', drain)
  process.on('SIGINT', drain)
  process.on('SIGHUP', () => watcher.lookNow())
}

async function startRole(live: LiveConfig<SidecarConfig>, logger: Logger, metrics: Metrics): Promise<RunningSidecar> {
  const localNow = Date.now
  const monotonicNow = () => performance.now()
  // The role is no hot setting: what comes later has the same.
  if (live.current.role === 'proxy')
    return startProxy({ live: live as LiveConfig<ProxyConfig>, logger, metrics, localNow, monotonicNow })
  return startWorker({ live: live as LiveConfig<WorkerConfig>, logger, metrics, localNow, random: Math.random })
}
