import type { FlowBoard } from '../results/flow-board.ts'
import type { QueueEstimate } from './queue-estimate.ts'

const SAMPLE_MILLISECONDS = 100
const SAMPLES_PER_READ = 10

/** Keeps the estimate fed: what is in flight here ten times a second, what the workers say each second. */
export class FlowReader {
  readonly #board: Pick<FlowBoard, 'read'>
  readonly #estimate: Pick<QueueEstimate, 'sample' | 'update'>
  #timer: NodeJS.Timeout | undefined
  #samples = 0
  #reading = false
  #closed = false

  constructor(board: Pick<FlowBoard, 'read'>, estimate: Pick<QueueEstimate, 'sample' | 'update'>) {
    this.#board = board
    this.#estimate = estimate
  }

  /** Nothing, once it is closed. */
  start(): void {
    if (!this.#closed) this.#timer ??= setInterval(() => this.#tick(), SAMPLE_MILLISECONDS)
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#timer)
  }

  #tick(): void {
    this.#estimate.sample()
    if (this.#samples++ % SAMPLES_PER_READ === 0) void this.#read()
  }

  /** One at a time: what a slow Redis tells late must not come after what it tells later. */
  async #read(): Promise<void> {
    if (this.#reading) return
    this.#reading = true
    const reports = await this.#board.read()
    this.#reading = false
    if (reports !== undefined) this.#estimate.update(reports)
  }
}
