export type CallStreamOptions = {
  readonly callsPerSecond: number
  /** Makes one call; rejects when it was not answered as it should be. `number` counts from 0. */
  readonly call: (number: number) => Promise<void>
  readonly describe: (error: unknown) => string
}

/** The calls that were in flight when it was opened, and those that began while it was open. */
export type CallWindow = {
  /** Waits for all of them, and tells of what has settled since the opening. */
  close(): Promise<Readonly<Tally>>
}

type Tally = {
  settled: number
  answered: number
  /** Milliseconds. */
  longestWait: number
  /** Calls in flight at the same time. */
  mostInFlight: number
}

/**
 * Makes calls at a steady rate, whether or not those before were answered: as callers who know nothing of each other.
 */
export class CallStream {
  readonly #options: CallStreamOptions
  readonly #inFlight = new Set<Promise<void>>()
  readonly #windows = new Set<Tally>()
  readonly #total: Tally = { settled: 0, answered: 0, longestWait: 0, mostInFlight: 0 }
  readonly #failures: string[] = []
  #started = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: CallStreamOptions) {
    this.#options = options
  }

  get started(): number {
    return this.#started
  }

  get answered(): number {
    return this.#total.answered
  }

  /** In milliseconds, of any call that has settled. */
  get longestWait(): number {
    return this.#total.longestWait
  }

  /** One line for each call that was not answered. */
  get failures(): readonly string[] {
    return this.#failures
  }

  start(): void {
    const begun = performance.now()
    // A late timer makes up for the calls that it missed.
    this.#timer = setInterval(() => {
      const due = ((performance.now() - begun) / 1000) * this.#options.callsPerSecond
      while (this.#started < due) this.#call()
    }, 10)
  }

  /** Makes no more calls and waits for those in flight. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#inFlight)
  }

  open(): CallWindow {
    const tally: Tally = { settled: 0, answered: 0, longestWait: 0, mostInFlight: this.#inFlight.size }
    this.#windows.add(tally)
    return {
      close: async () => {
        await Promise.all(this.#inFlight)
        this.#windows.delete(tally)
        return tally
      },
    }
  }

  #call(): void {
    const number = this.#started
    this.#started += 1
    const begun = performance.now()
    const settle = (answered: boolean): void => {
      const wait = performance.now() - begun
      for (const tally of [this.#total, ...this.#windows]) {
        tally.settled += 1
        if (answered) tally.answered += 1
        tally.longestWait = Math.max(tally.longestWait, wait)
      }
    }
    const done = this.#options
      .call(number)
      .then(
        () => settle(true),
        (error: unknown) => {
          settle(false)
          this.#failures.push(`call ${number}: ${this.#options.describe(error)}`)
        },
      )
      .finally(() => this.#inFlight.delete(done))
    this.#inFlight.add(done)
    for (const tally of this.#windows) tally.mostInFlight = Math.max(tally.mostInFlight, this.#inFlight.size)
  }
}
