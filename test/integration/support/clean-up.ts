import type { TestContext } from 'node:test'

type CleanUp = () => unknown

const stacks = new WeakMap<TestContext, CleanUp[]>()

/** Runs at the end of the test, what was added last first: a route goes before the Kafka that it was made on. */
export function atEnd(t: TestContext, cleanUp: CleanUp): void {
  const stack = stacks.get(t)
  if (stack !== undefined) {
    stack.push(cleanUp)
    return
  }
  const started = [cleanUp]
  stacks.set(t, started)
  t.after(async () => {
    for (let one = started.pop(); one !== undefined; one = started.pop()) await one()
  })
}
