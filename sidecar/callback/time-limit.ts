/**
 * Does a piece of work with a signal that is aborted with the given one, or after so many milliseconds. Once the work is done, neither timer
 * nor listener is left: AbortSignal.timeout would keep what hangs on it until it fires.
 */
export async function withTimeLimit<T>(
  milliseconds: number,
  signal: AbortSignal,
  work: (limited: AbortSignal) => Promise<T>,
): Promise<T> {
  const limited = new AbortController()
  const onAbort = (): void => limited.abort(signal.reason)
  const timer = setTimeout(() => limited.abort(new Error(`no answer in ${milliseconds} ms`)), milliseconds)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  try {
    return await work(limited.signal)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}
