/** Which fields of a kind a table of changes covers: its schema says which there are. */
import { isDeepStrictEqual } from 'node:util'
import { readDefinitions, type Schema } from '../../../crds/schema.ts'
import type { Resource } from '../../../crds/types.ts'

/** Every field of `spec` that holds a value: `spec.methods[].name`, `spec.topic.config.*`, `spec.proxy.template.spec.affinity`. */
export function fieldsOf(kind: Resource['kind']): readonly string[] {
  const spec = readDefinitions().find((one) => one.kind === kind)?.schema.properties?.['spec']
  if (spec === undefined) throw new RangeError(`${kind} has no spec`)
  return [...leaves(spec, 'spec')]
}

function* leaves(schema: Schema, path: string): Generator<string> {
  if (schema.type === 'array') yield* leaves(schema.items, `${path}[]`)
  else if (schema.type !== 'object') yield path
  else if (schema.additionalProperties !== undefined) yield* leaves(schema.additionalProperties, `${path}.*`)
  else if (schema.properties === undefined) yield path
  else for (const [name, inner] of Object.entries(schema.properties)) yield* leaves(inner, `${path}.${name}`)
}

/** Those of the fields of which two specs say something else. */
export const changedFields = (fields: readonly string[], before: object, after: object): readonly string[] =>
  fields.filter((field) => !isDeepStrictEqual(valuesAt({ spec: before }, field), valuesAt({ spec: after }, field)))

/** All values that a field has, in all items and under all names. */
function valuesAt(root: unknown, field: string): readonly unknown[] {
  let places: readonly unknown[] = [root]
  for (const part of field.replaceAll('[]', '.[]').split('.')) {
    places = places.flatMap((place): readonly unknown[] => {
      if (typeof place !== 'object' || place === null) return []
      if (part === '*' || part === '[]')
        return Object.entries(place).map((entry): unknown => (part === '*' ? entry : entry[1]))
      const value = (place as Readonly<Record<string, unknown>>)[part]
      return value === undefined ? [] : [value]
    })
  }
  return places
}
