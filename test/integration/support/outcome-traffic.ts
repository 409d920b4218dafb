import type { TestContext } from 'node:test'
import type { RedisConfig } from '../../../sidecar/config.ts'
import type { CallId } from '../../../sidecar/call-id.ts'
import { callKey } from '../../../sidecar/results/keys.ts'
import { encodeOutcome } from '../../../sidecar/results/outcome.ts'
import { connectRedis } from '../../../sidecar/results/redis.ts'
import { OutcomeStore } from '../../../sidecar/results/store.ts'
import { OutcomeWaiters } from '../../../sidecar/results/waiters.ts'
import { createLogger } from '../../../sidecar/telemetry/log.ts'
import { Metrics } from '../../../sidecar/telemetry/metrics.ts'
import { atEnd } from './clean-up.ts'
import { randomCallId } from './packed-header.ts'
import { until } from './route.ts'

const OUTCOME = encodeOutcome({ state: 'Expired', started: 'No' })

/** Stores an outcome each 5 ms on one connection and waits for it on two others, as worker and proxy do. */
export async function outcomeTraffic(t: TestContext, config: RedisConfig) {
  const logger = createLogger('silent', {})
  const metrics = new Metrics()
  const worker = connectRedis({ config, name: 'worker', logger, metrics })
  const proxy = connectRedis({ config, name: 'proxy', logger, metrics })
  const subscriber = proxy.subscriber('proxy:reply')
  const store = new OutcomeStore({ redis: worker, instance: 'worker', retentionSeconds: () => 60, logger, metrics })
  const waiters = new OutcomeWaiters({ redis: proxy, subscriber, instance: 'proxy', logger, metrics })
  const counts = { sent: 0, stored: 0, told: 0 }
  const untold = new Map<number, CallId>()
  const timer = setInterval(() => {
    const id = randomCallId()
    const number = counts.sent++
    untold.set(number, id)
    waiters.add(id, () => {
      counts.told += 1
      untold.delete(number)
    })
    store.store(id, 'proxy', OUTCOME, () => (counts.stored += 1))
  }, 5)
  atEnd(t, () => {
    clearInterval(timer)
    waiters.close()
    store.close()
    worker.disconnect()
    proxy.disconnect()
  })
  await waiters.start()
  const goesOn = async (more = 100) => {
    const goal = counts.sent + more
    await until('outcomes are stored and told', () => Math.min(counts.stored, counts.told) >= goal, 40_000)
  }
  /**
   * Stops and waits for all. A failover forgets what only the old master had acknowledged: an outcome of which `mayBeForgotten` is
   * true, by its number, need not be told when Redis does not have it.
   */
  const end = async (mayBeForgotten: (number: number) => boolean = () => false) => {
    clearInterval(timer)
    await until(
      'every outcome is stored and told',
      async () => {
        if (counts.stored < counts.sent || ![...untold.keys()].every(mayBeForgotten)) return false
        if (untold.size === 0) return true
        const standing = await worker.getAll([...untold.values()].map(callKey))
        return standing.every((outcome) => outcome === null)
      },
      40_000,
    )
    return { forgotten: untold.size }
  }
  await goesOn()
  return { counts, goesOn, end, metrics }
}
