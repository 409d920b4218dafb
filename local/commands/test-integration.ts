/**
 * `npm run test:integration [-- ARGS]`: the tests that need Kafka and Redis, on those of KAFKA_BROKERS and REDIS_URL or
 * on some of its own. ARGS are for `node --test`; a path takes the place of all files.
 */
import { startInfrastructure } from '../infrastructure.ts'
import { reportToTerminal } from '../report.ts'
import { inScratchDirectory } from '../scratch-directory.ts'
import { endWith, runNode, splitArguments } from './node-test.ts'

const { flags, files } = splitArguments(process.argv.slice(2))
await inScratchDirectory('grpc-kafka-test', async (directory, signal) => {
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
