import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { status, type ServiceError } from '@grpc/grpc-js'
import { connect, type Calculator } from '../../examples/calculator/client.ts'
import { countRecords } from '../kafka/admin.ts'
import { freePort } from '../platform/free-port.ts'
import { reportToTerminal } from '../report.ts'
import { withSession } from '../session.ts'
import { callName, CASES, checkAnswer, type Answer, type Case } from './calculator-cases.ts'

const TIMEOUT_MILLISECONDS = 15_000

/**
 * `npm start -- --once`: makes the calls of the table one after the other, as a client would, and checks what each
 * answered, what the topic gained and what the handlers did. Answers the exit code: 0 when all is as it should be.
 */
export async function once(
  options: { readonly paths: readonly string[]; readonly port: number | undefined },
  signal: AbortSignal,
): Promise<number> {
  // Whatever else uses the example's port: this client knows where to call.
  const proxyPort = options.port ?? (await freePort())
  let answered = 0
  const problems: string[] = []
  await withSession(
    {
      paths: options.paths,
      proxyPort,
      report: reportToTerminal,
      handlerLine: () => undefined,
      handlerEnvironment: (directory) => ({ LEDGER_FILE: ledgerFile(directory) }),
    },
    signal,
    async ({ infrastructure, routes, directory, keepFiles }) => {
      const [proxy] = routes.proxies
      if (!proxy) throw new Error('the example has no proxy')
      const topic = proxy.service.spec.topic.name
      const before = await countRecords(infrastructure.brokers, topic)
      const calculator = connect(proxy.address)
      try {
        for (const [index, one] of CASES.entries()) {
          signal.throwIfAborted()
          const started = performance.now()
          const answer = await call(calculator, one, callName(index))
          const problem = checkAnswer(one, callName(index), answer)
          if (problem === undefined) answered += 1
          else problems.push(`call ${index + 1}: ${problem}`)
          console.log(line(index, one, answer, performance.now() - started, problem))
        }
      } finally {
        calculator.close()
      }
      const records = (await countRecords(infrastructure.brokers, topic)) - before
      const executions = await countLines(ledgerFile(directory))
      console.log(`topic ${topic}: ${records} records gained`)
      console.log(`handlers' ledger: ${executions} executions gained`)
      if (records !== CASES.length) problems.push(`the topic gained ${records} records, not ${CASES.length}`)
      if (executions !== CASES.length) problems.push(`the ledger gained ${executions} executions, not ${CASES.length}`)
      if (problems.length > 0) keepFiles()
    },
  )
  for (const problem of problems) console.log(`wrong: ${problem}`)
  console.log(`calls: ${CASES.length} answered: ${answered}`)
  return problems.length === 0 ? 0 : 1
}

const ledgerFile = (directory: string): string => join(directory, 'ledger')

const countLines = (file: string): Promise<number> =>
  readFile(file, 'utf8').then(
    (text) => text.split('\n').length - 1,
    () => 0,
  )

async function call(calculator: Calculator, { method, num1, num2 }: Case, name: string): Promise<Answer> {
  try {
    const reply = await calculator.calculate({ name, method, num1, num2 }, TIMEOUT_MILLISECONDS)
    return { code: 'OK', text: reply.message, successFlag: reply.successFlag, result: reply.result }
  } catch (error) {
    const { code, details } = error as ServiceError
    return { code: status[code] ?? String(code), text: details ?? (error as Error).message }
  }
}

function line(
  index: number,
  { method, num1, num2 }: Case,
  answer: Answer,
  milliseconds: number,
  problem?: string,
): string {
  const handler = /\(([^()]+:\d+)\)$/.exec(answer.text)?.[1]
  const outcome =
    answer.code !== 'OK' ? answer.code : answer.successFlag ? `= ${answer.result}` : 'successFlag false: no result'
  return [
    String(index + 1).padStart(2),
    `${num1} ${method} ${num2}`.padEnd(20),
    outcome.padEnd(30),
    `handler ${handler ?? 'unknown'}`.padEnd(26),
    `${milliseconds.toFixed(1).padStart(7)} ms`,
    ...(problem === undefined ? [] : [`WRONG: ${problem}`]),
  ].join('  ')
}
