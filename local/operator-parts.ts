/** What an operator works with, on one machine: those parts that the environment names, else some of our own. */
import { join } from 'node:path'
import { startInfrastructure } from './infrastructure.ts'
import { ensureConsul } from './platform/consul-program.ts'
import { startConsul, untilConsulLeads } from './platform/consul.ts'
import { startControlPlane } from './platform/control-plane.ts'
import { installDefinitions } from './platform/definitions.ts'
import { connectToKube } from './platform/kube-api.ts'
import { ensureKubernetes } from './platform/kubernetes-program.ts'
import { PartMissingError } from './platform/part-missing.ts'
import type { Report } from './report.ts'

const ANSWER_MILLISECONDS = 15_000

/** `Kafka` brings a Redis along. */
export type OperatorPart = 'Kubernetes' | 'Kafka' | 'Consul'

export type OperatorParts = {
  /** How whoever uses them finds them: CONTROL_PLANE (a ControlPlaneAccess in JSON), KAFKA_BROKERS, REDIS_URL, CONSUL_HTTP_ADDR. */
  readonly environment: Readonly<Record<string, string>>
  /** Ends what was started here, and nothing else. */
  stop(): Promise<void>
}

/**
 * What cannot be had here of these parts; undefined where all can. Programs are built before anything runs: that takes
 * minutes of all cores.
 */
export async function missingPart(
  parts: readonly OperatorPart[],
  environment: NodeJS.ProcessEnv,
  report: Report,
  signal: AbortSignal,
): Promise<PartMissingError | undefined> {
  try {
    if (parts.includes('Kubernetes') && !environment['CONTROL_PLANE']) await ensureKubernetes(report, signal)
    if (parts.includes('Consul') && givenConsul(environment) === undefined) await ensureConsul(report, signal)
    return undefined
  } catch (error) {
    if (error instanceof PartMissingError) return error
    throw error
  }
}

/**
 * All at once; where one fails the others are stopped.
 *
 * @param directory  for the data and logs of what is started
 * @throws PartMissingError, PartFailedError
 */
export async function startOperatorParts(
  parts: readonly OperatorPart[],
  directory: string,
  environment: NodeJS.ProcessEnv,
  report: Report,
  signal: AbortSignal,
): Promise<OperatorParts> {
  const results = await Promise.allSettled(parts.map((part) => STARTS[part](directory, environment, report, signal)))
  const started = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((part) => part.stop()))
  }
  const failed = results.find((result) => result.status === 'rejected')
  if (failed !== undefined) {
    await stop()
    throw failed.reason
  }
  return { environment: Object.assign({}, ...started.map((part) => part.environment)) as Record<string, string>, stop }
}

type Start = (
  directory: string,
  environment: NodeJS.ProcessEnv,
  report: Report,
  signal: AbortSignal,
) => Promise<OperatorParts>

const kubernetes: Start = async (directory, environment, report, signal) => {
  const given = environment['CONTROL_PLANE'] || undefined
  if (given !== undefined) {
    report('Kubernetes: using the one of CONTROL_PLANE')
    return { environment: { CONTROL_PLANE: given }, stop: () => Promise.resolve() }
  }
  const started = Date.now()
  report('Kubernetes: starting')
  const plane = await startControlPlane({ directory: join(directory, 'kubernetes'), report }, signal)
  const api = connectToKube(plane.access.admin)
  try {
    for (const warning of await installDefinitions(api, signal)) report(`Kubernetes: warning: ${warning}`)
  } catch (error) {
    await plane.stop()
    throw error
  } finally {
    api.close()
  }
  report(`Kubernetes: ready on ${plane.access.admin.url} (${((Date.now() - started) / 1000).toFixed(1)} s)`)
  return { environment: { CONTROL_PLANE: JSON.stringify(plane.access) }, stop: () => plane.stop() }
}

const kafka: Start = async (directory, environment, report, signal) => {
  const infrastructure = await startInfrastructure(directory, environment, report, signal)
  return {
    environment: { KAFKA_BROKERS: infrastructure.brokers.join(','), REDIS_URL: infrastructure.redisUrl },
    stop: () => infrastructure.stop(),
  }
}

const consul: Start = async (directory, environment, report, signal) => {
  const given = givenConsul(environment)
  if (given !== undefined) {
    report(`Consul: using ${given} (CONSUL_HTTP_ADDR)`)
    await untilConsulLeads(given, AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MILLISECONDS)]))
    return { environment: { CONSUL_HTTP_ADDR: given }, stop: () => Promise.resolve() }
  }
  const server = await startConsul({ directory: join(directory, 'consul'), report }, signal)
  report(`Consul: ready on ${server.url}`)
  return { environment: { CONSUL_HTTP_ADDR: server.url }, stop: () => server.stop(0) }
}

const STARTS: Readonly<Record<OperatorPart, Start>> = { Kubernetes: kubernetes, Kafka: kafka, Consul: consul }

function givenConsul(environment: NodeJS.ProcessEnv): string | undefined {
  const given = environment['CONSUL_HTTP_ADDR'] || undefined
  return given === undefined || given.includes('://') ? given : `http://${given}`
}
