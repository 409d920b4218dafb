/**
 * Calls at a steady rate over node:http2, whatever becomes of those before: a third of what a grpc-js client costs, so
 * that an overload can be made beside what it is put on.
 */
import http2 from 'node:http2'
import { METHOD, SERVICE_NAME } from './service.ts'

export interface Ended {
  /** When it was to begin, monotonic milliseconds. */
  readonly due: number
  /** From then to its end. */
  readonly milliseconds: number
  /** The gRPC status; -1: none came. */
  readonly status: number
  /** The status message, where there is one. */
  readonly details: string
}

export interface CallOptions {
  readonly deadlineMilliseconds: number
  readonly message: Buffer
  readonly onEnd: (ended: Ended) => void
}
export interface OpenLoopOptions extends CallOptions {
  readonly perSecond: number
}

const TICK_MILLISECONDS = 5
/** Calls that a machine is so late with are not made: it cannot make that load, and what comes of it must end some time. */
const LATEST_MILLISECONDS = 1000
/** A call is ended by its deadline at the server; one that is not by then never will be. */
const PATIENCE_MILLISECONDS = 15_000

export class HttpLoad {
  readonly #session: http2.ClientHttp2Session

  constructor(port: number) {
    // Node's own limit for a session, 10 MB, is reached by some thousand calls in flight.
    this.#session = http2.connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 1000 })
    // Its calls tell that they got no status.
    this.#session.on('error', () => undefined)
  }

  /**
   * Calls begun at a steady rate for so long. Resolves when each has ended.
   * @throws when some do not end.
   */
  async openLoop(milliseconds: number, { perSecond, ...call }: OpenLoopOptions): Promise<void> {
    const began = performance.now()
    const interval = 1000 / perSecond
    let next = 0
    let open = 0
    let over = false
    const { promise: lastEnd, resolve: onLastEnd, reject } = Promise.withResolvers<void>()
    const onEnd = (one: Ended): void => {
      open -= 1
      call.onEnd(one)
      if (over && open === 0) onLastEnd()
    }
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        const now = performance.now() - began
        for (; next * interval < Math.min(now, milliseconds); next++) {
          if (now - next * interval > LATEST_MILLISECONDS) continue
          open += 1
          this.#call(began + next * interval, { ...call, onEnd })
        }
        if (now < milliseconds) return
        clearInterval(timer)
        resolve()
      }, TICK_MILLISECONDS)
    })
    over = true
    if (open === 0) return
    const patience = setTimeout(
      () => reject(new Error(`${open} calls did not end`)),
      call.deadlineMilliseconds + PATIENCE_MILLISECONDS,
    )
    await lastEnd.finally(() => clearTimeout(patience))
  }

  /** So many callers for so long, each with its next call when the last one has ended. @returns how many calls were answered. */
  closedLoop(callers: number, milliseconds: number, call: Omit<CallOptions, 'onEnd'>): Promise<number> {
    const end = performance.now() + milliseconds
    let answered = 0
    let calling = callers
    return new Promise((resolve) => {
      const next = (): void => {
        const due = performance.now()
        if (due < end) {
          this.#call(due, {
            ...call,
            onEnd: ({ status }) => {
              if (status === 0) answered += 1
              next()
            },
          })
        } else if (--calling === 0) resolve(answered)
      }
      for (let caller = 0; caller < callers; caller++) next()
    })
  }

  close(): void {
    this.#session.destroy()
  }

  #call(due: number, { deadlineMilliseconds, message, onEnd }: CallOptions): void {
    const stream = this.#session.request(
      {
        ':method': 'POST',
        ':path': METHOD,
        'content-type': 'application/grpc',
        te: 'trailers',
        'grpc-timeout': `${deadlineMilliseconds}m`,
        'user-agent': SERVICE_NAME,
      },
      { endStream: false },
    )
    let status = -1
    let details = ''
    const read = (headers: http2.IncomingHttpHeaders): void => {
      if (headers['grpc-status'] === undefined) return
      status = Number(headers['grpc-status'])
      details = decodeURIComponent(String(headers['grpc-message'] ?? ''))
    }
    stream.on('response', read)
    stream.on('trailers', read)
    stream.on('error', () => undefined)
    stream.on('close', () => onEnd({ due, milliseconds: performance.now() - due, status, details }))
    stream.resume()
    const frame = Buffer.allocUnsafe(5 + message.length)
    frame[0] = 0
    frame.writeUInt32BE(message.length, 1)
    message.copy(frame, 5)
    stream.end(frame)
  }
}
