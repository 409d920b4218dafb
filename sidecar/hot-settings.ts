/**
 * Which settings a sidecar applies while it runs, and which need a restart: the one place that says so, for the sidecar
 * itself and for whoever decides whether a change replaces pods.
 */
import { isDeepStrictEqual } from 'node:util'

/** Paths of hot settings; whatever stands below such a path is hot too. */
const HOT_SETTINGS = {
  proxy: [
    'log.level',
    'admin.profiling',
    'service.resultRetentionSeconds',
    'proxy.methods',
    'proxy.rateLimit',
    'proxy.maxInFlight',
    'proxy.maxInFlightBytes',
    'proxy.cacheMaxBytes',
    'proxy.recordVersion',
    'proxy.drainMilliseconds',
    'proxy.callbacks',
    // What an agent is told anew. Where it is, and as whom it is asked, is for good.
    'proxy.registration.consul.name',
    'proxy.registration.consul.tags',
    'proxy.registration.consul.meta',
    'proxy.registration.consul.ttlSeconds',
    'proxy.registration.consul.intervalSeconds',
  ],
  worker: [
    'log.level',
    'admin.profiling',
    'service.resultRetentionSeconds',
    'worker.handler',
    'worker.concurrency',
    'worker.timeoutMilliseconds',
    'worker.methods',
    'worker.retry',
    'worker.graceSeconds',
    'worker.callbacks.giveUpAfterSeconds',
  ],
} as const satisfies Readonly<Record<'proxy' | 'worker', readonly string[]>>

interface OfRole {
  readonly role: 'proxy' | 'worker'
}

/**
 * The settings that differ and cannot change while a sidecar runs, by path.
 * @param before, after either both as written in the file or both as parsed.
 */
export function settingsThatNeedRestart(before: OfRole, after: OfRole): readonly string[] {
  if (before.role !== after.role) return ['role']
  const hot: ReadonlySet<string> = new Set(HOT_SETTINGS[before.role])
  const found: string[] = []
  const compare = (path: string, one: unknown, other: unknown): void => {
    if (hot.has(path)) return
    if (isSection(one) && isSection(other)) {
      for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
        compare(path === '' ? key : `${path}.${key}`, one[key], other[key])
      }
    } else if (!isDeepStrictEqual(one, other)) found.push(path)
  }
  compare('', before, after)
  return found
}

/** What of a configuration needs a restart: two configurations for which this is equal can take each other's place. */
export function settingsForGood(config: OfRole): Readonly<Record<string, unknown>> {
  const hot: ReadonlySet<string> = new Set(HOT_SETTINGS[config.role])
  const without = (path: string, section: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
    Object.fromEntries(
      Object.entries(section).flatMap(([key, value]) => {
        const inner = path === '' ? key : `${path}.${key}`
        if (hot.has(inner)) return []
        if (!isSection(value)) return [[key, value] as const]
        const rest = without(inner, value)
        // A section that says nothing may say something by being there (`tls`); one of hot settings does not.
        return Object.keys(rest).length === 0 && Object.keys(value).length > 0 ? [] : [[key, rest] as const]
      }),
    )
  return without('', { ...config })
}

/** Other objects, as a reference to a secret, are values. */
const isSection = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
