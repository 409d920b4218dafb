/**
 * `npm run test:integration [-- ARGS]`: the tests that need Kafka and Redis, on those of KAFKA_BROKERS and REDIS_URL or
 * on some of its own. ARGS are for `node --test`; a path takes the place of all files.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startInfrastructure } from '../infrastructure.ts'
import { interruptible } from '../interrupt.ts'
import { reportToTerminal } from '../report.ts'
import { endWith, runNode, splitArguments } from './node-test.ts'

const { flags, files } = splitArguments(process.argv.slice(2))
const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-test-'))
try {
  await interruptible(async (signal) => {
    const infrastructure = await startInfrastructure(directory, process.env, reportToTerminal, signal)
    try {
      const environment = {
        ...process.env,
        KAFKA_BROKERS: infrastructure.brokers.join(','),
        REDIS_URL: infrastructure.redisUrl,
      }
      const concurrency = flags.some((flag) => flag.startsWith('--test-concurrency')) ? [] : ['--test-concurrency=1']
      const tests = files.length > 0 ? files : ['test/integration/**/*.test.ts']
      endWith(
        await runNode(
          [
            '--disable-warning=TimeoutNegativeWarning',
            '--test',
            '--test-timeout=300000',
            ...concurrency,
            ...flags,
            ...tests,
          ],
          environment,
        ),
      )
    } finally {
      await infrastructure.stop()
    }
  })
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  await rm(directory, { recursive: true, force: true })
}
