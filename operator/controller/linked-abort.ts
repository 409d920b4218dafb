import type { Clock } from './clock.ts'

/**
 * Runs something with a signal of its own, which is aborted with the caller's, or after so many milliseconds with what
 * `late` makes. Nothing is left behind: AbortSignal.any would keep each one alive as long as the caller's signal lives.
 */
export async function withTimeout<T>(
  clock: Clock,
  milliseconds: number,
  late: () => Error,
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted()
  const own = new AbortController()
  const abort = (): void => own.abort(signal?.reason)
  signal?.addEventListener('abort', abort)
  const cancel = clock.after(milliseconds, () => own.abort(late()))
  try {
    return await run(own.signal)
  } finally {
    cancel()
    signal?.removeEventListener('abort', abort)
  }
}
