/**
 * Whether an object is already as we want it, so that a write which would change nothing is not sent. Two things are
 * compared: a hash of what was applied last, for fields that are no longer wanted are not in what is wanted now; and the
 * wanted fields with the live ones, for others may have changed them. Fields that nobody asked for are nobody's drift: the
 * API server and its controllers fill them in.
 */
import { createHash } from 'node:crypto'
import type { KubeObject } from './controller/object.ts'

/** An object with all of its fields, as it is to be applied. */
export interface Rendered extends KubeObject {
  readonly [field: string]: unknown
}

/** Of what was applied: tells that a later version of the operator, or of the resource, wants something else. */
export const APPLIED_HASH = 'grpckafka.dev/applied-hash'

/** The object with the hash of itself. */
export function withAppliedHash<T extends KubeObject>(object: T): T {
  const annotations = { ...object.metadata.annotations, [APPLIED_HASH]: hashOf(object) }
  return { ...object, metadata: { ...object.metadata, annotations } }
}

/** 16 hexadecimal digits that differ where the values do, whatever the order of their fields. */
export const hashOf = (value: unknown): string =>
  createHash('sha256')
    .update(JSON.stringify(sorted(value)))
    .digest('hex')
    .slice(0, 16)

/** @param wanted as `withAppliedHash` gives it. */
export const needsApply = (wanted: KubeObject, live: KubeObject | undefined): boolean =>
  live === undefined || !covers(live, wanted)

/**
 * Whether a live value holds everything of a wanted one. What is wanted empty may be missing, as the API server leaves it
 * out; quantities are compared by what they amount to, as it writes them its own way ("1000m" as "1").
 */
export function covers(live: unknown, wanted: unknown, path: readonly string[] = []): boolean {
  if (isEmpty(wanted)) return live === undefined || live === null || isEmpty(live)
  if ((live === undefined || live === null) && isZero(wanted)) return !meansOtherwise(path)
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(live) &&
      live.length === wanted.length &&
      wanted.every((item, index) => covers(live[index], item, [...path, '[]']))
    )
  }
  if (isObject(wanted)) {
    return (
      isObject(live) &&
      Object.entries(wanted).every(([name, value]) => value === undefined || covers(live[name], value, [...path, name]))
    )
  }
  if (live === wanted) return true
  return isAmount(path) && amount(live) !== undefined && amount(live) === amount(wanted)
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isEmpty = (value: unknown): boolean =>
  Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0

/** The API server leaves out most fields that hold what their absence means. */
const isZero = (value: unknown): boolean => value === '' || value === 0 || value === false || value === null

/** Fields whose absence means something else. */
const OTHERWISE: ReadonlySet<string> = new Set([
  'replicas',
  'runAsUser',
  'runAsGroup',
  'fsGroup',
  'automountServiceAccountToken',
  'enableServiceLinks',
  'allowPrivilegeEscalation',
])

const meansOtherwise = (path: readonly string[]): boolean => OTHERWISE.has(path.at(-1) ?? '')

/** Where a Pod has a quantity: `resources.requests.cpu` and its like, wherever they stand, and what is named by itself. */
const isAmount = (path: readonly string[]): boolean => {
  const [around, within, name] = [path.at(-3), path.at(-2), path.at(-1)]
  return (
    (around === 'resources' && (within === 'requests' || within === 'limits')) ||
    within === 'overhead' ||
    (within === 'emptyDir' && name === 'sizeLimit') ||
    (within === 'resourceFieldRef' && name === 'divisor')
  )
}

/** Powers of ten, or of two, by suffix (apimachinery's resource.Quantity). */
const SUFFIXES: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
}

function amount(value: unknown): string | undefined {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined
  const match = /^(?<number>[0-9.]+(?:[eE][+-]?[0-9]+)?)(?<suffix>[a-zA-Z]*)$/.exec(String(value))
  const scale = SUFFIXES[match?.groups?.['suffix'] ?? 'none']
  if (match === null || scale === undefined) return undefined
  // Twelve digits tell amounts apart; more would tell rounding apart.
  return (Number(match.groups?.['number']) * scale).toPrecision(12)
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isObject(value)) return value
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined)
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, inner]) => [name, sorted(inner)]))
}
