type CleanUp = () => unknown

/** A test, or whatever else has an end. */
export type Lifetime = {
  after(cleanUp: () => Promise<void>): void
}

const stacks = new WeakMap<Lifetime, CleanUp[]>()

/**
 * Runs at the end of the test, what was added last first: a route goes before the Kafka that it was made on. One that
 * fails does not keep the others from running; it fails the test.
 */
export function atEnd(t: Lifetime, cleanUp: CleanUp): void {
  const stack = stacks.get(t)
  if (stack !== undefined) {
    stack.push(cleanUp)
    return
  }
  const started = [cleanUp]
  stacks.set(t, started)
  t.after(async () => {
    const failures: unknown[] = []
    for (let one = started.pop(); one !== undefined; one = started.pop()) {
      try {
        await one()
      } catch (failure) {
        failures.push(failure)
      }
    }
    if (failures.length > 0)
      throw failures.length === 1 ? failures[0] : new AggregateError(failures, 'cleaning up failed')
  })
}
