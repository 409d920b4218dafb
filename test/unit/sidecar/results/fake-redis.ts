import type { RedisClient } from '../../../../sidecar/results/redis.ts'

/** One server that is there; what a test is about is given, anything else must not be asked. */
export function fakeRedis(given: Partial<RedisClient>): RedisClient {
  const notExpected = (what: string) => () => Promise.reject(new Error(`${what} was not expected`))
  return {
    ready: true,
    problem: '',
    sharded: false,
    onReady: () => () => undefined,
    whenReady: () => Promise.resolve(),
    parts: (items) => [items],
    script: notExpected('a script'),
    getAll: notExpected('a read'),
    each: notExpected('a command'),
    poke: notExpected('a message'),
    subscriber: () => {
      throw new Error('a subscriber was not expected')
    },
    disconnect: () => undefined,
    ...given,
  }
}
