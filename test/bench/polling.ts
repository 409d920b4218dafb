/**
 * Loaded before a sidecar (`--import 'polling.ts?every=MILLISECONDS&redis=URL'`), makes it wait the other way: the proxy asks
 * Redis for the outcomes of all its waiting calls so often, and the worker wakes nobody. For comparison only: nobody reads
 * again after a reconnect here.
 */
import { Redis } from 'ioredis'
import type { CallId } from '../../sidecar/call-id.ts'
import { isOutcome } from '../../sidecar/results/call-state.ts'
import { callKey } from '../../sidecar/results/keys.ts'
import { decodeOutcome } from '../../sidecar/results/outcome.ts'
import type { Outcome } from '../../sidecar/results/outcome.ts'
import { OutcomeStore } from '../../sidecar/results/store.ts'
import { OutcomeWaiters } from '../../sidecar/results/waiters.ts'

interface Waiting {
  readonly id: CallId
  readonly onOutcome: (outcome: Outcome) => void
}

const options = new URL(import.meta.url).searchParams
const every = Number(options.get('every'))
const waiting = new Map<string, Waiting>()
let redis: Redis | undefined
let timer: NodeJS.Timeout | undefined

async function look(): Promise<void> {
  const asked = [...waiting]
  redis ??= new Redis(options.get('redis') ?? '')
  const states = await redis.mgetBuffer(asked.map(([, { id }]) => callKey(id)))
  for (const [index, [key, { onOutcome }]] of asked.entries()) {
    const bytes = states[index]
    if (bytes != null && isOutcome(bytes) && waiting.delete(key)) onOutcome(decodeOutcome(bytes))
  }
  timer = undefined
  arm()
}

function arm(): void {
  if (timer === undefined && waiting.size > 0) timer = setTimeout(() => void look(), every)
}

OutcomeWaiters.prototype.add = (id, onOutcome) => {
  waiting.set(id.toString('latin1'), { id, onOutcome })
  arm()
}
OutcomeWaiters.prototype.remove = (id) => void waiting.delete(id.toString('latin1'))

const store = Reflect.get(OutcomeStore.prototype, 'store') as (...args: unknown[]) => void
OutcomeStore.prototype.store = function (this: OutcomeStore, id, _replyTo, ...rest) {
  Reflect.apply(store, this, [id, '', ...rest])
}
