/** An operator as a process of its own, which a test starts, asks, stops, freezes and kills. */
import { join, resolve } from 'node:path'
import { startChild, type Child, type Exit } from '../../../local/child.ts'
import { atEnd, type Lifetime } from '../../integration/support/clean-up.ts'
import { until } from './until.ts'

const root = join(import.meta.dirname, '..', '..', '..')
const STOP_MILLISECONDS = 30_000

/** A line of the operator's log. */
export type LogLine = { readonly msg: string; readonly level: string; readonly [field: string]: unknown }

export type OperatorOptions = {
  /** A path from the project's folder. */
  readonly program: string
  readonly kubeconfig: string
  readonly namespace: string
  /** Each `name=value`; of the same name the last counts. */
  readonly flags?: Readonly<Record<string, string | number>>
  readonly environment?: Readonly<Record<string, string>>
  /** Of Node, before the program: `--cpu-prof`. */
  readonly nodeFlags?: readonly string[]
  /** Its name in the Lease. */
  readonly name?: string
}

export class OperatorProcess {
  readonly name: string
  readonly log: LogLine[] = []
  readonly #child: Child
  #healthPort = 0
  #metricsPort = 0

  /** Resolves when its probes answer. It is stopped at the test's end. */
  static async start(t: Lifetime, options: OperatorOptions): Promise<OperatorProcess> {
    const { program, kubeconfig, namespace, name = 'operator', environment, nodeFlags = [] } = options
    const flags = {
      kubeconfig,
      namespaces: namespace,
      'leader-elect-namespace': namespace,
      'sidecar-image': 'sidecar:test',
      'listen-host': '127.0.0.1',
      'health-port': 0,
      'metrics-port': 0,
      'log-level': 'debug',
      ...options.flags,
    }
    const lines: string[] = []
    let take = (text: string): unknown => lines.push(text)
    const child = await startChild({
      name,
      command: process.execPath,
      args: [
        ...nodeFlags,
        resolve(root, program),
        ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`),
      ],
      directory: root,
      environment: { ...process.env, POD_NAME: name, ...environment },
      output: { line: (text) => take(text) },
    })
    const operator = new OperatorProcess(name, child)
    atEnd(t, () => operator.#end())
    take = (text) => operator.#read(text)
    for (const text of lines) operator.#read(text)
    const ports = await until(`${name} is there`, () => {
      if (child.exit !== undefined) throw new Error(`${name} ended: ${JSON.stringify(operator.log.slice(-5))}`)
      return operator.log.find(({ msg }) => msg === 'probes and metrics')
    })
    operator.#healthPort = Number(ports['healthPort'])
    operator.#metricsPort = Number(ports['metricsPort'])
    return operator
  }

  private constructor(name: string, child: Child) {
    this.name = name
    this.#child = child
  }

  get pid(): number {
    return this.#child.pid
  }

  /** Undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#child.exit
  }

  get exited(): Promise<Exit> {
    return this.#child.exited
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** How often it wrote this line. */
  said(msg: string, fields: Readonly<Record<string, unknown>> = {}): number {
    const matches = (line: LogLine): boolean => Object.entries(fields).every(([name, value]) => line[name] === value)
    return this.log.filter((line) => line.msg === msg && matches(line)).length
  }

  /** Reconciles of this object that ended, whatever came of them. */
  reconciles(key: string): number {
    return this.said('reconciled', { key })
  }

  /** Waits until a controller has looked at this object so often more. */
  async untilReconciled(key: string, times: number, controller: string): Promise<void> {
    const looks = (): number => this.said('reconciled', { key, controller })
    const before = looks()
    await until(`${key} was reconciled ${times} times more`, () => looks() >= before + times)
  }

  async probe(path: '/healthz' | '/readyz'): Promise<{ readonly status: number; readonly text: string }> {
    const answer = await fetch(`http://127.0.0.1:${this.#healthPort}${path}`)
    return { status: answer.status, text: (await answer.text()).trim() }
  }

  /** The value of the series that is written so: `name{label="value"}`. */
  async metric(series: string): Promise<number | undefined> {
    const text = await (await fetch(`http://127.0.0.1:${this.#metricsPort}/metrics`)).text()
    const line = text.split('\n').find((one) => one.startsWith(`${series} `))
    return line === undefined ? undefined : Number(line.slice(series.length + 1))
  }

  /** The sum of all series of that name. */
  async metricSum(name: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.#metricsPort}/metrics`)).text()
    const lines = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
  }

  #read(text: string): void {
    try {
      this.log.push(JSON.parse(text) as LogLine)
    } catch {
      this.log.push({ level: 'stderr', msg: text })
    }
  }

  async #end(): Promise<void> {
    // A process that is frozen takes no other signal.
    this.#child.kill('SIGCONT')
    await this.#child.stop(STOP_MILLISECONDS)
  }
}
