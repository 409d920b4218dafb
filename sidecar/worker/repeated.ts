/** Work that is done again and again, once at a time, with a pause after each. It must not fail. */
export class Repeated {
  readonly #pauseMilliseconds: number
  readonly #work: () => Promise<void>
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined

  constructor(pauseMilliseconds: number, work: () => Promise<void>) {
    this.#pauseMilliseconds = pauseMilliseconds
    this.#work = work
  }

  start(): void {
    const timer = setTimeout(() => {
      this.#running = this.#work().finally(() => {
        this.#running = undefined
        if (this.#timer === timer) this.start()
      })
    }, this.#pauseMilliseconds)
    this.#timer = timer
  }

  /** Nothing is begun any more. Resolves when what was under way is done. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#running
  }
}
