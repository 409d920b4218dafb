/** Does what the schedule says, sees that it was done, and mends it. */
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { until } from '../integration/support/route.ts'
import type { Process } from '../integration/support/route.ts'
import type { Fault } from './history.ts'
import type { Plan } from './schedule.ts'
import type { Scene } from './scene.ts'

/** A fault was planned, and what should have happened did not. `code` is `NOT_STRUCK`. */
class NotStruckError extends Error {
  readonly code = 'NOT_STRUCK'
  constructor(message: string) {
    super(message)
    this.name = 'NotStruckError'
  }
}

/**
 * Resolves when what was struck works again.
 * @throws NotStruckError
 */
export async function strike(scene: Scene, plan: Plan): Promise<Fault> {
  const { platform, route } = scene
  switch (plan.kind) {
    case 'kill': {
      const { victim, number, awayMilliseconds } = plan
      const worker = route.workers[number]
      const target =
        victim === 'proxy' ? route.proxies[number]!.process : victim === 'worker' ? worker!.process : worker!.handler
      const at = Date.now()
      target.kill('SIGKILL')
      await target.exited
      const end = Date.now()
      const what = `${victim} ${number}, process ${assertKilled(target)}`
      await pause(awayMilliseconds, undefined, { signal: route.closing })
      if (victim === 'handler') worker!.handler = (await route.startHandler(worker!.handlerPort)).handler
      else await scene.restart(victim, number)
      await scene.untilWhole()
      return { kind: plan.kind, what, at, until: end }
    }
    case 'freeze': {
      const worker = route.workers[plan.number]!
      // Asked while it runs: woken, it may join before it answers this.
      const joins = (): Promise<number> => route.metric(worker, 'grpc_kafka_rebalances_total')
      const before = await joins()
      const at = Date.now()
      worker.process.kill('SIGSTOP')
      const pid = await untilStopped(worker.process)
      await pause(plan.milliseconds, undefined, { signal: route.closing })
      worker.process.kill('SIGCONT')
      const end = Date.now()
      // That the group gave it up is what the time was for.
      await until('the frozen worker joins again', async () => (await joins()) > before, 60_000)
      await scene.untilWhole()
      return { kind: plan.kind, what: `worker ${plan.number}, process ${pid}, for ${end - at} ms`, at, until: end }
    }
    case 'restart-broker': {
      const node = platform.cluster.nodes[plan.number]!
      const { pid } = node
      const at = Date.now()
      await node.kill(plan.signal)
      assertGone(pid)
      await node.start()
      await scene.untilWhole()
      return {
        kind: plan.kind,
        what: `broker ${plan.number + 1}, process ${pid}, ${plan.signal}`,
        at,
        until: Date.now(),
      }
    }
    case 'restart-redis': {
      const { pid } = platform.redis
      const at = Date.now()
      await platform.redis.kill(plan.signal)
      assertGone(pid)
      await platform.redis.start()
      await scene.untilWhole()
      return { kind: plan.kind, what: `Redis, process ${pid}, ${plan.signal}`, at, until: Date.now() }
    }
    case 'cut-subscriptions': {
      const at = Date.now()
      const cut = Number(await platform.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub'))
      if (cut < route.proxies.length) throw new NotStruckError(`${cut} subscriptions were cut`)
      await scene.untilWhole()
      return { kind: plan.kind, what: `${cut} of them`, at, until: Date.now() }
    }
    case 'cut-connections': {
      const relays = platform.relays[plan.to]
      const cut = relays.reduce((sum, { connections }) => sum + connections, 0)
      if (cut === 0) throw new NotStruckError(`there was no connection to ${plan.to}`)
      const at = Date.now()
      for (const relay of relays) relay.cut()
      await pause(plan.milliseconds, undefined, { signal: route.closing })
      for (const relay of relays) relay.mend()
      await scene.untilWhole()
      return {
        kind: plan.kind,
        what: `${cut} to ${plan.to}, nobody through for ${plan.milliseconds} ms`,
        at,
        until: Date.now(),
      }
    }
    case 'slow-connections': {
      const relays = platform.relays[plan.to]
      const at = Date.now()
      for (const relay of relays) relay.slow(plan.delayMilliseconds)
      await pause(plan.milliseconds, undefined, { signal: route.closing })
      for (const relay of relays) relay.slow(0)
      await scene.untilWhole()
      return { kind: plan.kind, what: `to ${plan.to}, by ${plan.delayMilliseconds} ms`, at, until: Date.now() }
    }
    case 'slow-handler':
    case 'failing-handler': {
      const mode =
        plan.kind === 'slow-handler' ? { sleepMilliseconds: plan.sleepMilliseconds } : { failPercent: plan.percent }
      const at = Date.now()
      scene.setMode(mode)
      await pause(plan.milliseconds, undefined, { signal: route.closing })
      scene.setMode({})
      await scene.untilWhole()
      return { kind: plan.kind, what: JSON.stringify(mode), at, until: Date.now() }
    }
  }
}

/** @returns its process id. */
function assertKilled({ child }: Process): number {
  if (child.signalCode !== 'SIGKILL') throw new NotStruckError(`process ${child.pid} ended with ${child.exitCode}`)
  assertGone(child.pid!)
  return child.pid!
}

function assertGone(pid: number): void {
  try {
    process.kill(pid, 0)
  } catch {
    return
  }
  throw new NotStruckError(`process ${pid} is still there`)
}

/** @returns its process id. */
async function untilStopped({ child }: Process): Promise<number> {
  const state = (): string => /\) (.)/.exec(readFileSync(`/proc/${child.pid}/stat`, 'utf8'))?.[1] ?? ''
  await until(`process ${child.pid} is stopped`, () => state() === 'T')
  return child.pid!
}
