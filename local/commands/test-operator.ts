/**
 * `npm run test:operator [-- ARGS]`: the tests that need a Kubernetes API server: on one control plane with our
 * definitions, one Kafka and one Consul for all of them (those of KAFKA_BROKERS, REDIS_URL and CONSUL_HTTP_ADDR where
 * they are set). ARGS are for `node --test`; a path takes the place of all files.
 *
 * Where Kubernetes or Consul cannot be had here it says so and ends with SKIPPED; under CI that is a failure.
 */
import { join } from 'node:path'
import { missingPart, startOperatorParts, type OperatorPart } from '../operator-parts.ts'
import { reportToTerminal } from '../report.ts'
import { inScratchDirectory } from '../scratch-directory.ts'
import { endWith, runNode, SKIPPED, splitArguments } from './node-test.ts'

const PARTS: readonly OperatorPart[] = ['Kubernetes', 'Kafka', 'Consul']

async function main(directory: string, signal: AbortSignal): Promise<void> {
  const missing = await missingPart(PARTS, process.env, reportToTerminal, signal)
  if (missing !== undefined) {
    if (process.env['CI']) throw missing
    console.error(
      `${missing.message}\n\n!!!! SKIPPED: no test of the operator was run, because ${missing.part} cannot be had here.`,
    )
    process.exitCode = SKIPPED
    return
  }
  const { flags, files } = splitArguments(process.argv.slice(2))
  const parts = await startOperatorParts(PARTS, directory, process.env, reportToTerminal, signal)
  try {
    const concurrency = flags.some((flag) => flag.startsWith('--test-concurrency')) ? [] : ['--test-concurrency=2']
    const tests = files.length > 0 ? files : ['test/operator/**/*.test.ts']
    endWith(
      await runNode(
        [
          ['--disable-warning=TimeoutNegativeWarning', '--test', '--test-timeout=300000'],
          concurrency,
          flags,
          tests,
        ].flat(),
        {
          // Operators are started over and over: this halves what a start takes.
          NODE_COMPILE_CACHE: join(directory, 'compile-cache'),
          ...process.env,
          ...parts.environment,
        },
      ),
    )
  } finally {
    await parts.stop()
  }
}

await inScratchDirectory('grpc-kafka-operator-test', main)
