/** Documents with one thing wrong in them, for whoever reads documents that people write. */
import fc from 'fast-check'

export type Path = readonly (string | number)[]
type Container = Record<string | number, unknown>

/** What people write, and names that every object of JavaScript has. */
const name = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', 'name', 'port', 'url', 'env', 'file', ''),
)
const value = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom<unknown>(null, -1, 0, 1.5, 2 ** 31, 2 ** 53, 1e308, '', ' ', '\0', 'é', [], {}, [[]]),
  fc.dictionary(name, fc.jsonValue({ maxDepth: 1 }), { maxKeys: 3 }),
)

/** A copy of the document, with one value put in the place of another, or beside it, or one taken away; and where. */
export const changed = (
  document: object,
): fc.Arbitrary<{ readonly document: Container; readonly path: Path; readonly now: unknown }> => {
  const places = pathsOf(document, [])
  const replaced = fc.record({ path: fc.constantFrom(...places), now: value })
  const added = fc
    .record({ at: fc.constantFrom(...places.filter((path) => isObject(at(document, path)))), name, now: value })
    .map(({ at: place, name: added, now }) => ({ path: [...place, added], now }))
  const removed = fc.record({ path: fc.constantFrom(...places), now: fc.constant(undefined) })
  return fc.oneof(replaced, added, removed).map(({ path, now }) => {
    const copy = structuredClone(document) as Container
    put(copy, path, now)
    return { document: copy, path, now }
  })
}

/** @param now undefined: it is taken away. */
export function put(document: Container, path: Path, now: unknown): void {
  const holder = at(document, path.slice(0, -1)) as Container
  const last = path.at(-1) as string | number
  if (now === undefined) delete holder[last]
  // Not by assignment: a field called `__proto__` is a field like any other, as JSON.parse has it.
  else Object.defineProperty(holder, last, { value: now, enumerable: true, configurable: true, writable: true })
}

export const pathsOf = (document: unknown, path: Path): Path[] =>
  typeof document !== 'object' || document === null
    ? []
    : Object.entries(document).flatMap(([key, inner]) => {
        const here = [...path, Array.isArray(document) ? Number(key) : key]
        return [here, ...pathsOf(inner, here)]
      })

const isObject = (found: unknown): boolean => typeof found === 'object' && found !== null && !Array.isArray(found)

const at = (document: unknown, path: Path): unknown => path.reduce((found, key) => (found as Container)[key], document)

/**
 * Whether a problem is told of this place, of something in it, or of what holds it.
 * @param shown the place as the reader writes it.
 */
export const isAbout = (problem: string, shown: string): boolean =>
  problem.startsWith(shown) || problem.startsWith('(root)') || shown.startsWith(problem.slice(0, problem.indexOf(': ')))
