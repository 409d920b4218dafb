import { setTimeout as pause } from 'node:timers/promises'

/** Far beyond what anything here takes: only a machine that does much else comes near. */
const PATIENCE_MILLISECONDS = 90_000

/**
 * Asks again and again until the answer is neither undefined nor false; a question that throws counts as not answered
 * yet.
 *
 * @returns the answer
 * @throws Error saying what was waited for, with what the question threw last as its cause
 */
export async function until<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  milliseconds = PATIENCE_MILLISECONDS,
): Promise<T> {
  const end = performance.now() + milliseconds
  for (;;) {
    let cause: unknown
    try {
      const answer = await ask()
      if (answer !== undefined && answer !== false) return answer
    } catch (error) {
      cause = error
    }
    if (performance.now() > end) {
      const last = cause instanceof Error ? `: ${cause.message}` : ''
      throw new Error(`not within ${milliseconds} ms: ${what}${last}`, { cause })
    }
    await pause(50)
  }
}

/** Makes the assertions again and again until none of them throws. @throws Error with what was thrown last as its cause */
export async function untilHolds(what: string, assertions: () => void | Promise<void>): Promise<void> {
  await until(what, async () => {
    await assertions()
    return true
  })
}
