/** One run of local mode, from files to a route that answers, with whatever it needs started and stopped around it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { descriptorSet } from './descriptor-set.ts'
import { startInfrastructure, type Infrastructure } from './infrastructure.ts'
import { oneWayReplyWarnings } from './one-way-replies.ts'
import type { Report } from './report.ts'
import { assignPorts } from './ports.ts'
import { loadResources } from './resources/load.ts'
import { resolveRoutes, type Route } from './resources/resolve.ts'
import { runRoutes, type RunningRoutes } from './route.ts'

export type SessionOptions = {
  /** Files and folders, as for `kubectl apply -f`. */
  readonly paths: readonly string[]
  /** Besides those that lie in the folders. */
  readonly protoFiles?: readonly string[]
  /** Takes the place of the first proxy's `spec.proxy.port`. */
  readonly proxyPort?: number
  /** Changes the routes before they run, e.g. the number of workers. */
  readonly adapt?: (routes: readonly Route[]) => readonly Route[]
  /** Asked before anything is started: for variables that depend on the run's own folder. */
  readonly handlerEnvironment?: (directory: string) => Readonly<Record<string, string>>
  readonly handlerLine: (name: string, text: string) => void
  readonly report: Report
}

export type Session = {
  /** Holds logs and configuration; removed at the end unless something failed or `keepFiles` was called. */
  readonly directory: string
  readonly infrastructure: Infrastructure
  readonly routes: RunningRoutes
  /** The files are kept for a person to look at: something was not as it should be. */
  readonly keepFiles: () => void
}

/**
 * Brings the route up, runs `work`, and stops everything in order, however `work` ended.
 *
 * @param signal  gives the start up; it is for `work` to look at it once everything runs
 * @throws what the files, the parts or `work` throw; the logs are kept then, and it is said where
 */
export async function withSession<T>(
  options: SessionOptions,
  signal: AbortSignal,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const { report } = options
  const loaded = await loadResources(options.paths)
  const { routes: written, warnings } = resolveRoutes(loaded)
  const routes = options.adapt?.(written) ?? written
  const { proxyPorts, notes } = await assignPorts(routes, options.proxyPort)
  for (const title of loaded.ignored) report(`left to the cluster: ${title}`)
  for (const line of warnings) report(`warning: ${line}`)
  for (const line of notes) report(line)
  const protoFiles = [...new Set([...loaded.protoFiles, ...(options.protoFiles ?? [])])]
  const descriptors = protoFiles.length > 0 ? descriptorSet(protoFiles) : undefined

  if (descriptors) {
    const services = routes.map(({ service }) => service)
    for (const line of oneWayReplyWarnings(descriptors, services)) report(`warning: ${line}`)
  }

  const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-'))
  let keep = false
  try {
    const descriptorSetFile = join(directory, 'descriptors.bin')
    if (descriptors) await writeFile(descriptorSetFile, descriptors)
    if (!process.env['KAFKA_BROKERS'] || !process.env['REDIS_URL']) {
      report(
        'spec.kafka and spec.redis are for the cluster: here KAFKA_BROKERS and REDIS_URL count, else our own are started',
      )
    }
    const infrastructure = await startInfrastructure(directory, process.env, report, signal)
    try {
      const running = await runRoutes(
        {
          routes,
          infrastructure,
          directory,
          proxyPorts,
          ...(descriptors ? { descriptorSetFile } : {}),
          handlerEnvironment: options.handlerEnvironment?.(directory) ?? {},
          handlerLine: options.handlerLine,
          report,
        },
        signal,
      )
      try {
        return await work({
          directory,
          infrastructure,
          routes: running,
          keepFiles: () => {
            keep = true
          },
        })
      } finally {
        report('stopping: proxies, workers, handlers')
        await running.stop()
      }
    } finally {
      await infrastructure.stop()
    }
  } catch (error) {
    if (!signal.aborted) keep = true
    throw error
  } finally {
    if (keep) report(`logs are kept in ${directory}`)
    else await rm(directory, { recursive: true, force: true })
  }
}
