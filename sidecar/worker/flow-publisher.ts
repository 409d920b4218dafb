import type { FlowBoard } from '../results/flow-board.ts'
import type { FlowReport } from '../results/flow-report.ts'

const INTERVAL_MILLISECONDS = 1000

export type WorkerLoad = Omit<FlowReport, 'time'>

export interface FlowPublisherOptions {
  readonly board: Pick<FlowBoard, 'report' | 'withdraw'>
  readonly instance: string
  /** What there is to do and how fast it goes. Never rejects. */
  readonly load: () => Promise<WorkerLoad>
  /** Milliseconds since 1970 on the shared clock. */
  readonly now: () => number
}

/** Tells the proxies each second how much work this worker has and how fast it goes. */
export class FlowPublisher {
  readonly #options: FlowPublisherOptions
  #timer: NodeJS.Timeout | undefined
  #publishing = false

  constructor(options: FlowPublisherOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.#publish(), INTERVAL_MILLISECONDS)
  }

  /** Nothing more is told, and what was told is taken back. */
  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    void this.#options.board.withdraw(this.#options.instance)
  }

  /** One at a time: an older word must not come after a newer one. */
  async #publish(): Promise<void> {
    if (this.#publishing) return
    this.#publishing = true
    const { board, instance, load, now } = this.#options
    const told = await load()
    if (this.#timer !== undefined) await board.report(instance, { time: now(), ...told })
    this.#publishing = false
  }
}
