/** Where a value stands inside a resource: field names and list indices, outermost first. */
export type Path = readonly (string | number)[]

export const field = (path: Path, name: string): Path => [...path, name]
export const item = (path: Path, index: number): Path => [...path, index]

/** `spec.methods[0].name`; a name that is no identifier is quoted, `config["retention.ms"]`; the root is `(root)`. */
export function formatPath(path: Path): string {
  if (path.length === 0) return '(root)'
  return path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`
      if (!/^[A-Za-z_$][\w$-]*$/.test(part)) return `[${JSON.stringify(part)}]`
      return index === 0 ? part : `.${part}`
    })
    .join('')
}

/** Tells whether a path leads to one of these, or to what holds one; in a time that does not grow with their number. */
export function holderOf(paths: readonly Path[]): (path: Path) => boolean {
  const holders = new Set<string>()
  for (const path of paths) {
    for (let length = 0; length <= path.length; length++) holders.add(asKey(path.slice(0, length)))
  }
  return (path) => holders.has(asKey(path))
}

const asKey = (path: Path): string => JSON.stringify(path.map(String))
