import assert from 'node:assert/strict'
import { once } from 'node:events'
import { until } from './route.ts'
import type { Answer, CallOptions, Route } from './route.ts'
import type { Instruction } from './service.ts'

export interface LoadOptions extends CallOptions {
  readonly perSecond: number
  /** Prepended to each call's name. */
  readonly name?: string
  /** Added to each call's instruction; `id` is given here. */
  readonly instruction?: Instruction
  /** Calls go round these proxies; the first alone when not given. */
  readonly proxies?: readonly number[]
}

export interface NamedAnswer extends Answer {
  readonly id: string
}

/** Calls at a steady rate, whether the earlier ones are answered or not: what breaks meets calls at every stage. */
export class Load {
  readonly #route: Route
  readonly #options: LoadOptions
  readonly #calls: Promise<NamedAnswer>[] = []
  readonly #timer: NodeJS.Timeout
  readonly #started = performance.now()
  #answered = 0

  constructor(route: Route, options: LoadOptions) {
    this.#route = route
    this.#options = options
    this.#timer = setInterval(() => this.#due(), 10)
    // A test that failed does not come to `stop`.
    route.closing.addEventListener('abort', () => clearInterval(this.#timer))
  }

  get sent(): number {
    return this.#calls.length
  }

  get answered(): number {
    return this.#answered
  }

  /** Resolves when so many were answered beside those that had been sent before. */
  async goOn(calls: number, milliseconds: number): Promise<void> {
    const goal = this.sent + calls
    await until('calls are answered', () => this.answered > goal, milliseconds)
  }

  /** Sends nothing more; resolves when every call was answered. */
  async stop(): Promise<NamedAnswer[]> {
    clearInterval(this.#timer)
    return Promise.all(this.#calls)
  }

  #due(): void {
    const { perSecond, proxies = [0], instruction = {}, name = 'call' } = this.#options
    const due = ((performance.now() - this.#started) / 1000) * perSecond
    while (this.#calls.length < due) {
      const number = this.#calls.length
      const id = `${name}-${number}`
      const call = this.#route.call(
        { reply: id, ...instruction, id },
        { ...this.#options, proxy: proxies[number % proxies.length] ?? 0 },
      )
      this.#calls.push(
        call.then((answer) => {
          this.#answered += 1
          return { id, ...answer }
        }),
      )
    }
  }
}

/** Milliseconds of the call that waited longest. */
export const slowest = (answers: readonly NamedAnswer[]): number =>
  Math.round(Math.max(...answers.map(({ milliseconds }) => milliseconds)))

/** Every call got its own reply. */
export function assertAllAnswered(answers: readonly NamedAnswer[]): void {
  const others = answers.filter(({ id, code, reply }) => code !== 0 || reply?.toString() !== id)
  assert.deepEqual(
    others.slice(0, 5).map(({ id, code, details, reply, milliseconds }) => ({
      id,
      code,
      details,
      reply: reply?.toString(),
      milliseconds: Math.round(milliseconds),
    })),
    [],
    `${others.length} of ${answers.length} calls were not answered`,
  )
}

/** Every one of these calls ran exactly once, by the handlers' ledger. */
export function assertEachRanOnce(route: Route, answers: readonly NamedAnswer[]): void {
  const runs = route.runs()
  const others = answers.filter(({ id }) => runs.get(id) !== 1)
  assert.deepEqual(
    others.slice(0, 5).map(({ id }) => ({ id, runs: runs.get(id) ?? 0 })),
    [],
    `${others.length} of ${answers.length} calls did not run once`,
  )
  assert.equal(runs.size, answers.length, 'the ledger holds calls that nobody made')
}

/** Resolves at the exit of a process that was told to end; fails when it takes longer. */
export async function ended(
  process: { readonly exited: Promise<number | null> },
  milliseconds: number,
): Promise<number | null> {
  const limit = AbortSignal.timeout(milliseconds)
  const late = once(limit, 'abort').then(() => {
    throw new Error(`the process did not end within ${milliseconds} ms`)
  })
  return Promise.race([process.exited, late])
}
