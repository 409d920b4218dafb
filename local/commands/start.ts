import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { UsageError, wholeNumber } from '../usage.ts'
import { chaos } from './chaos.ts'
import { stayUp } from './local.ts'
import { once } from './once.ts'

/** The calculator's resources and proto. */
const CALCULATOR = join(import.meta.dirname, '..', '..', 'examples', 'calculator')

/** `npm start`: the example, as a newcomer sees it. Answers the exit code. */
export async function start(args: readonly string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      once: { type: 'boolean', default: false },
      chaos: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      port: { type: 'string' },
    },
  })
  if (values.once && values.chaos) throw new UsageError('--once and --chaos exclude each other')
  if (values.rounds !== undefined && !values.chaos) throw new UsageError('--rounds goes with --chaos')
  const port = values.port === undefined ? undefined : wholeNumber('--port', values.port, 1, 65_535)
  if (values.once) return once({ paths: [CALCULATOR], port }, signal)
  if (values.chaos) {
    const rounds = values.rounds === undefined ? undefined : wholeNumber('--rounds', values.rounds, 1, 10_000)
    return chaos({ paths: [CALCULATOR], port, rounds }, signal)
  }
  await stayUp({ paths: [CALCULATOR], ...(port === undefined ? {} : { proxyPort: port }) }, signal, ({ proxies }) => {
    const address = proxies[0]?.address ?? ''
    const call = `'{"name":"you","method":"add","num1":40,"num2":2}' ${address} calculator.CalculateService/Calculate`
    return [
      `call it    npx node examples/calculator/client.ts ${address} multiply 6 7`,
      `           grpcurl -plaintext -d ${call}`,
      'your own   npx grpc-kafka local -f YOUR_FOLDER (examples/calculator/README.md: ten minutes)',
    ]
  })
  return 0
}
