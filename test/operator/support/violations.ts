/** Resources with one field that is wrong, one for each thing that a schema forbids: a table made from the schema. */
import type { Path } from '../../../crds/path.ts'
import { field, item } from '../../../crds/path.ts'
import type { Schema } from '../../../crds/schema.ts'

export interface Violation {
  /** Where the value stands that is wrong, or where one is missing. */
  readonly path: Path
  readonly what: string
  /** Undefined: the field is taken away. */
  readonly value: unknown
}

/** Everything that this schema forbids at this place and below it. Of lists the first entry is taken. */
export function* violationsOf(schema: Schema, path: Path): Generator<Violation> {
  const wrong = (what: string, value: unknown): Violation => ({ path, what, value })
  yield wrong(`is of another type than ${schema.type}`, schema.type === 'string' ? 1 : 'text')
  switch (schema.type) {
    case 'object': {
      const { properties = {}, required = [], maxProperties, additionalProperties } = schema
      yield wrong('is a list', [])
      for (const name of required) {
        yield { path: field(path, name), what: 'is missing', value: undefined }
        yield { path: field(path, name), what: 'is null', value: null }
      }
      const isClosed = additionalProperties === undefined && schema['x-kubernetes-preserve-unknown-fields'] !== true
      if (isClosed) yield { path: field(path, 'notDeclared'), what: 'is not declared', value: 1 }
      if (maxProperties !== undefined) yield wrong('has too many fields', manyFields(maxProperties + 1))
      for (const [name, inner] of Object.entries(properties)) yield* violationsOf(inner, field(path, name))
      if (additionalProperties !== undefined) yield* violationsOf(additionalProperties, field(path, 'a'))
      break
    }
    case 'array': {
      const { items, minItems = 0, maxItems } = schema
      yield wrong('is an object', {})
      if (minItems > 0) yield wrong('has too few entries', [])
      if (maxItems !== undefined && items.type === 'string') {
        yield wrong(
          'has too many entries',
          Array.from({ length: maxItems + 1 }, (_entry, index) => `a${index}`),
        )
      }
      yield* violationsOf(items, item(path, 0))
      break
    }
    case 'string': {
      const { enum: values, minLength = 0, maxLength, pattern } = schema
      if (minLength > 0) yield wrong('is empty', '')
      if (maxLength !== undefined) yield wrong('is too long', 'a'.repeat(maxLength + 1))
      if (values !== undefined) yield wrong('is not one of its values', 'NoneOfThem')
      if (pattern !== undefined && !new RegExp(pattern, 'u').test(STRANGE)) yield wrong('is strange text', STRANGE)
      break
    }
    case 'integer': {
      const { minimum, maximum } = schema
      yield wrong('is a fraction', 1.5)
      if (minimum !== undefined) yield wrong('is too small', minimum - 1)
      if (maximum !== undefined) yield wrong('is too large', maximum + 1)
      break
    }
    case 'boolean':
      yield wrong('is a number', 1)
  }
}

const STRANGE = ' é\n'

const manyFields = (count: number): Readonly<Record<string, string>> =>
  Object.fromEntries(Array.from({ length: count }, (_entry, index) => [`a${index}`, '']))

/** A copy of the document with the violation in it; what it stands in is made where it is not there. */
export function withViolation(document: object, { path, value }: Violation): Record<string, unknown> {
  const copy = structuredClone(document) as Record<string | number, unknown>
  let place = copy
  path.slice(0, -1).forEach((part, index) => {
    place = (place[part] ??= typeof path[index + 1] === 'number' ? [] : {}) as typeof place
  })
  const last = path.at(-1)!
  if (value === undefined) delete place[last]
  else place[last] = value
  return copy
}
