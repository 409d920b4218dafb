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

/** Whether `path` is at or below `ancestor`. */
export const isWithin = (path: Path, ancestor: Path): boolean =>
  ancestor.length <= path.length && ancestor.every((part, index) => part === path[index])
