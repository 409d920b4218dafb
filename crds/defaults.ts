import { fieldSchema, type Schema } from './schema.ts'

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * The value with its defaults filled in, as the API server stores it: a default stands in for a missing field, and
 * a null where no null is allowed counts as missing. Values of a wrong type are left for validation to report.
 */
export function withDefaults(value: unknown, schema: Schema): unknown {
  if (schema.type === 'array') {
    return Array.isArray(value) ? value.map((item: unknown) => withDefaults(item, schema.items)) : value
  }
  if (schema.type !== 'object' || !isObject(value)) return value
  // Not by assignment: a field called `__proto__` is a field like any other.
  return Object.fromEntries([
    ...Object.entries(value).flatMap(([name, field]) => {
      const declared = fieldSchema(schema, name)
      if (declared === undefined) return [[name, field] as const]
      return field === null ? [] : [[name, withDefaults(field, declared)] as const]
    }),
    ...Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
      const missing = !Object.hasOwn(value, name) || value[name] === null
      return missing && property.default !== undefined
        ? [[name, withDefaults(structuredClone(property.default), property)] as const]
        : []
    }),
  ])
}
