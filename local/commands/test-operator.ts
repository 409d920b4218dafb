/**
 * `npm run test:operator [-- ARGS]`: the tests that need a Kubernetes API server: on one control plane with our
 * definitions, one Kafka and one Consul for all of them (those of KAFKA_BROKERS, REDIS_URL and CONSUL_HTTP_ADDR where
 * they are set). ARGS are for `node --test`; a path takes the place of all files.
 *
 * Where Kubernetes or Consul cannot be had here it says so and ends with SKIPPED; under CI that is a failure.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startInfrastructure } from '../infrastructure.ts'
import { interruptible } from '../interrupt.ts'
import { ensureConsul } from '../platform/consul-program.ts'
import { startConsul, untilConsulLeads } from '../platform/consul.ts'
import { startControlPlane } from '../platform/control-plane.ts'
import { installDefinitions } from '../platform/definitions.ts'
import { connectToKube } from '../platform/kube-api.ts'
import { ensureKubernetes } from '../platform/kubernetes-program.ts'
import { PartMissingError } from '../platform/part-missing.ts'
import { reportToTerminal, type Report } from '../report.ts'
import { endWith, runNode, SKIPPED, splitArguments } from './node-test.ts'

const ANSWER_MILLISECONDS = 15_000

type Part = { readonly environment: Readonly<Record<string, string>>; stop(): Promise<void> }

async function cluster(directory: string, report: Report, signal: AbortSignal): Promise<Part> {
  const started = Date.now()
  report('Kubernetes: starting')
  const plane = await startControlPlane({ directory, report }, signal)
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

async function consul(directory: string, report: Report, signal: AbortSignal): Promise<Part> {
  const given = givenConsul()
  if (given !== undefined) {
    report(`Consul: using ${given} (CONSUL_HTTP_ADDR)`)
    await untilConsulLeads(given, AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MILLISECONDS)]))
    return { environment: { CONSUL_HTTP_ADDR: given }, stop: () => Promise.resolve() }
  }
  const server = await startConsul({ directory, report }, signal)
  report(`Consul: ready on ${server.url}`)
  return { environment: { CONSUL_HTTP_ADDR: server.url }, stop: () => server.stop(0) }
}

function givenConsul(): string | undefined {
  const given = process.env['CONSUL_HTTP_ADDR'] || undefined
  return given === undefined || given.includes('://') ? given : `http://${given}`
}

async function kafkaAndRedis(directory: string, report: Report, signal: AbortSignal): Promise<Part> {
  const infrastructure = await startInfrastructure(directory, process.env, report, signal)
  return {
    environment: { KAFKA_BROKERS: infrastructure.brokers.join(','), REDIS_URL: infrastructure.redisUrl },
    stop: () => infrastructure.stop(),
  }
}

/** All at once; where one fails the others are stopped. */
async function startParts(directory: string, report: Report, signal: AbortSignal): Promise<readonly Part[]> {
  const parts = await Promise.allSettled([
    cluster(join(directory, 'kubernetes'), report, signal),
    kafkaAndRedis(directory, report, signal),
    consul(join(directory, 'consul'), report, signal),
  ])
  const started = parts.flatMap((part) => (part.status === 'fulfilled' ? [part.value] : []))
  const failed = parts.find((part) => part.status === 'rejected')
  if (failed === undefined) return started
  await Promise.all(started.map((part) => part.stop()))
  throw failed.reason
}

/** What cannot be had of what only these tests need. It is all built before anything runs: that takes minutes of both cores. */
async function missingPart(signal: AbortSignal): Promise<PartMissingError | undefined> {
  try {
    await ensureKubernetes(reportToTerminal, signal)
    if (givenConsul() === undefined) await ensureConsul(reportToTerminal, signal)
    return undefined
  } catch (error) {
    if (error instanceof PartMissingError) return error
    throw error
  }
}

async function main(directory: string, signal: AbortSignal): Promise<void> {
  const missing = await missingPart(signal)
  if (missing !== undefined) {
    if (process.env['CI']) throw missing
    console.error(
      `${missing.message}\n\n!!!! SKIPPED: no test of the operator was run, because ${missing.part} cannot be had here.`,
    )
    process.exitCode = SKIPPED
    return
  }
  const { flags, files } = splitArguments(process.argv.slice(2))
  const parts = await startParts(directory, reportToTerminal, signal)
  try {
    const concurrency = flags.some((flag) => flag.startsWith('--test-concurrency')) ? [] : ['--test-concurrency=1']
    const tests = files.length > 0 ? files : ['test/operator/**/*.test.ts']
    endWith(
      await runNode(
        [
          ['--disable-warning=TimeoutNegativeWarning', '--test', '--test-timeout=300000'],
          concurrency,
          flags,
          tests,
        ].flat(),
        Object.assign(
          // Operators are started over and over: this halves what a start takes.
          { NODE_COMPILE_CACHE: join(directory, 'compile-cache') },
          process.env,
          ...parts.map(({ environment }) => environment),
        ) as NodeJS.ProcessEnv,
      ),
    )
  } finally {
    await Promise.all(parts.map((part) => part.stop()))
  }
}

const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-operator-test-'))
try {
  await interruptible((signal) => main(directory, signal))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  await rm(directory, { recursive: true, force: true })
}
