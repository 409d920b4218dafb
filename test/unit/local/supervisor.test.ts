import assert from 'node:assert/strict'
import test from 'node:test'
import type { Child, Exit } from '../../../local/child.ts'
import { restartPause, supervise } from '../../../local/supervisor.ts'

/** A process in name only: the test says when it ends. */
function fakeChild(log: string[], name: string) {
  const { promise, resolve } = Promise.withResolvers<Exit>()
  let exit: Exit | undefined
  const end = (how: Exit): void => {
    exit = how
    resolve(how)
  }
  const child: Child = {
    name,
    pid: 1,
    get exit() {
      return exit
    },
    exited: promise,
    kill: (signal) => log.push(`${name} ${signal}`),
    stop: (grace) => {
      log.push(`${name} stopped within ${grace}`)
      end({ code: 0, signal: null })
      return promise
    },
  }
  return { child, end }
}

test('the pause doubles with each early end, and has a limit', () => {
  assert.deepEqual([0, 1, 2, 3, 6, 7, 50].map(restartPause), [0, 200, 400, 800, 6400, 10_000, 10_000])
})

test('what ends is started again, with growing pauses', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const log: string[] = []
  const children = ['a', 'b', 'c'].map((name) => fakeChild(log, name))
  const starts = [...children]
  const exits: number[] = []
  const supervised = await supervise({
    name: 'handler',
    start: () => Promise.resolve(starts.shift()?.child ?? assert.fail('one start too many')),
    report: (line) => log.push(line),
    onExit: (_exit, failures) => exits.push(failures),
    now: () => 0,
  })
  children[0]?.end({ code: 3, signal: null })
  await settled()
  assert.equal(supervised.child, undefined)
  assert.deepEqual(log.splice(0), ['handler: ended with exit code 3, starting it again in 200 ms'])
  context.mock.timers.tick(199)
  await settled()
  assert.equal(starts.length, 2, 'not before its time')
  context.mock.timers.tick(1)
  await settled()
  assert.equal(supervised.child, children[1]?.child)
  children[1]?.end({ code: null, signal: 'SIGKILL' })
  await settled()
  assert.deepEqual(log.splice(0), ['handler: ended with SIGKILL, starting it again in 400 ms'])
  context.mock.timers.tick(400)
  await settled()
  assert.deepEqual(exits, [1, 2])
  await supervised.stop(50)
  assert.deepEqual(log, ['c stopped within 50'])
})

test('one that has lived long is started again at once', async () => {
  const log: string[] = []
  const [first, second] = [fakeChild(log, 'a'), fakeChild(log, 'b')]
  const starts = [first, second]
  let now = 0
  const supervised = await supervise({
    name: 'worker',
    start: () => Promise.resolve(starts.shift()?.child ?? assert.fail('one start too many')),
    report: (line) => log.push(line),
    now: () => now,
  })
  now = 10_000
  first.end({ code: 1, signal: null })
  await first.child.exited
  while (supervised.child !== second.child) await settled()
  assert.equal(supervised.failures, 0)
  assert.deepEqual(log, ['worker: ended with exit code 1, starting it again'])
  await supervised.stop(1)
})

test('stop during a pause starts nothing more', async () => {
  const log: string[] = []
  const first = fakeChild(log, 'a')
  let starts = 0
  const supervised = await supervise({
    name: 'x',
    start: () => {
      starts += 1
      return Promise.resolve(first.child)
    },
    report: () => undefined,
  })
  first.end({ code: 1, signal: null })
  await settled()
  await supervised.stop(1)
  assert.equal(starts, 1)
})

test('a first start that fails is the caller’s; a later one counts as an end', async (context) => {
  await assert.rejects(
    supervise({ name: 'x', start: () => Promise.reject(new Error('no program')), report: () => undefined }),
    /no program/,
  )
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const log: string[] = []
  const [first, third] = [fakeChild(log, 'a'), fakeChild(log, 'c')]
  const starts = [
    () => Promise.resolve(first.child),
    () => Promise.reject(new Error('gone')),
    () => Promise.resolve(third.child),
  ]
  const supervised = await supervise({
    name: 'x',
    start: () => starts.shift()?.() ?? assert.fail('one start too many'),
    report: (line) => log.push(line),
    now: () => 0,
  })
  first.end({ code: 1, signal: null })
  await settled()
  context.mock.timers.tick(200)
  await settled()
  assert.deepEqual(log.slice(1), ['x: gone', 'x: ended with exit code unknown, starting it again in 400 ms'])
  context.mock.timers.tick(400)
  await settled()
  assert.equal(supervised.child, third.child)
  await supervised.stop(1)
})

/** Lets everything run that waits for nothing but its turn. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
