/**
 * Checks a resource as an API server that has our definitions would, without one.
 */
import { Ajv, type ErrorObject } from 'ajv'
import { withDefaults } from './defaults.ts'
import { field, formatPath, holderOf, item, type Path } from './path.ts'
import { compileRules, type Rules } from './rules.ts'
import { type Definition, fieldSchema, readDefinitions, type Schema } from './schema.ts'
import type { Resource } from './types.ts'

export type Validation =
  { readonly ok: true; readonly resource: Resource } | { readonly ok: false; readonly problems: readonly string[] }

interface Kind {
  readonly definition: Definition
  readonly accepts: ReturnType<Ajv['compile']>
  readonly rules: Rules
}

interface Problem {
  readonly path: Path
  readonly message: string
}

/** The part of Kubernetes' own object metadata that may be written in a file, or comes back from a cluster. */
const METADATA = {
  type: 'object',
  required: ['name'],
  additionalProperties: false,
  properties: {
    name: { type: 'string', pattern: '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$', maxLength: 253 },
    namespace: { type: 'string', pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$', maxLength: 63 },
    labels: { type: 'object', additionalProperties: { type: 'string' } },
    annotations: { type: 'object', additionalProperties: { type: 'string' } },
    uid: { type: 'string' },
    resourceVersion: { type: 'string' },
    generation: { type: 'integer' },
    creationTimestamp: { type: ['string', 'null'] },
    deletionTimestamp: { type: 'string' },
    deletionGracePeriodSeconds: { type: 'integer' },
    finalizers: { type: 'array', items: { type: 'string' } },
    ownerReferences: { type: 'array', items: { type: 'object' } },
    managedFields: { type: 'array', items: { type: 'object' } },
    selfLink: { type: 'string' },
    generateName: { type: 'string' },
  },
}

let kinds: ReadonlyMap<string, Kind> | undefined

/**
 * Checks one object against the definition of its kind: types, bounds, fields that are not declared (an error, as
 * with kubectl's strict validation), list uniqueness and the CEL rules. With `old`, the object as it stands now, the
 * transition rules (immutable fields, partitions that only grow) are checked too; `old` must itself be valid but for
 * its defaults.
 *
 * @returns the resource with its defaults filled in (the given object is left as it is); or every problem, one line
 * each beginning with the field's path, `spec.methods[0].timeoutMilliseconds: must be >= 1`. An object of another
 * kind is one problem; whether it may stand in a file of ours is for the caller to say.
 */
export function validateResource(object: unknown, options: { readonly old?: unknown } = {}): Validation {
  kinds ??= loadKinds()
  if (typeof object !== 'object' || object === null || Array.isArray(object)) {
    return refused([{ path: [], message: 'must be a Kubernetes object' }])
  }
  const { apiVersion, kind } = object as { readonly apiVersion?: unknown; readonly kind?: unknown }
  const found =
    typeof apiVersion === 'string' && typeof kind === 'string' ? kinds.get(`${apiVersion} ${kind}`) : undefined
  if (found === undefined) return refused([unknownKind(apiVersion, kind, kinds)])

  const { schema } = found.definition
  const value = withDefaults(object, schema)
  const problems: Problem[] = found.accepts(value)
    ? []
    : (found.accepts.errors ?? []).flatMap((error) => describe(error, value))
  const holdsMalformed = holderOf(problems.map(({ path }) => path))
  const old = options.old === undefined ? undefined : { value: withDefaults(options.old, schema) }
  const all = [...problems, ...duplicates(value, schema, []), ...found.rules.check(value, old, holdsMalformed)]
  return all.length === 0 ? { ok: true, resource: value as Resource } : refused(all)
}

const refused = (problems: readonly Problem[]): Validation => ({
  ok: false,
  problems: problems.map(({ path, message }) => `${formatPath(path)}: ${message}`),
})

function unknownKind(apiVersion: unknown, kind: unknown, known: ReadonlyMap<string, Kind>): Problem {
  const all = [...known.values()].map(({ definition }) => definition)
  const namesake = all.find((definition) => definition.kind === kind)
  return namesake === undefined
    ? {
        path: ['kind'],
        message: `must be one of ${all.map((one) => one.kind).join(', ')}, not ${named(kind)}`,
      }
    : { path: ['apiVersion'], message: `must be ${namesake.apiVersion}, not ${named(apiVersion)}` }
}

/** Not as it stands: a YAML file can write what holds itself. */
const named = (value: unknown): string => (typeof value === 'string' ? JSON.stringify(value) : typeof value)

function loadKinds(): ReadonlyMap<string, Kind> {
  const ajv = new Ajv({ allErrors: true, strict: true, verbose: false })
  ajv.addFormat('int32', { type: 'number', validate: (n) => n >= -(2 ** 31) && n < 2 ** 31 })
  // Beyond it a JSON number is no longer the integer that was written.
  ajv.addFormat('int64', { type: 'number', validate: (n) => Number.isSafeInteger(n) })
  return new Map(
    readDefinitions().map((definition) => {
      const { apiVersion, kind, schema } = definition
      const accepts = ajv.compile({
        allOf: [
          toJsonSchema(schema, 'resource'),
          { type: 'object', required: ['metadata'], properties: { metadata: METADATA } },
        ],
      })
      return [`${apiVersion} ${kind}`, { definition, accepts, rules: compileRules(schema) }]
    }),
  )
}

/** JSON Schema of the same meaning. Defaults, list types and rules are dealt with outside it. */
function toJsonSchema(
  schema: Schema,
  place: 'resource' | 'its metadata' | 'inside' = 'inside',
): Record<string, unknown> {
  switch (schema.type) {
    case 'object': {
      const { properties = {}, additionalProperties, required, maxProperties } = schema
      return {
        type: 'object',
        properties: Object.fromEntries(
          Object.entries(properties).map(([name, inner]) => [
            name,
            toJsonSchema(inner, place === 'resource' && name === 'metadata' ? 'its metadata' : 'inside'),
          ]),
        ),
        ...(required === undefined ? {} : { required }),
        ...(maxProperties === undefined ? {} : { maxProperties }),
        ...(additionalProperties !== undefined
          ? { additionalProperties: toJsonSchema(additionalProperties) }
          : schema['x-kubernetes-preserve-unknown-fields'] || place === 'its metadata'
            ? {}
            : { additionalProperties: false }),
      }
    }
    case 'array': {
      const { items, minItems, maxItems } = schema
      return {
        type: 'array',
        items: toJsonSchema(items),
        ...(minItems === undefined ? {} : { minItems }),
        ...(maxItems === undefined ? {} : { maxItems }),
      }
    }
    case 'string': {
      const { enum: values, minLength, maxLength, pattern } = schema
      return {
        type: 'string',
        ...(values === undefined ? {} : { enum: values }),
        ...(minLength === undefined ? {} : { minLength }),
        ...(maxLength === undefined ? {} : { maxLength }),
        ...(pattern === undefined ? {} : { pattern }),
      }
    }
    case 'integer': {
      const { format, minimum, maximum } = schema
      return {
        type: 'integer',
        ...(format === undefined ? {} : { format }),
        ...(minimum === undefined ? {} : { minimum }),
        ...(maximum === undefined ? {} : { maximum }),
      }
    }
    case 'boolean':
      return { type: 'boolean' }
  }
}

/** An ajv error as problems in our words, at the field that is wrong. */
function describe(error: ErrorObject, object: unknown): Problem[] {
  const path = pathOf(error.instancePath, object)
  const parameters = error.params as Readonly<Record<string, unknown>>
  switch (error.keyword) {
    case 'required':
      return [{ path: field(path, String(parameters['missingProperty'])), message: 'is required' }]
    case 'additionalProperties':
      return [
        { path: field(path, String(parameters['additionalProperty'])), message: 'is not a field of this resource' },
      ]
    case 'enum':
      return [{ path, message: `must be one of ${(parameters['allowedValues'] as readonly string[]).join(', ')}` }]
    case 'type':
      return [{ path, message: `must be ${article(String(parameters['type']))}` }]
    // Says nothing of its own: the alternatives within report what is wrong.
    case 'allOf':
      return []
    default:
      return [{ path, message: error.message ?? `breaks ${error.keyword}` }]
  }
}

/** A JSON pointer as a path; only the object tells the index of a list from a name of digits. */
function pathOf(pointer: string, object: unknown): Path {
  const path: (string | number)[] = []
  let value = object
  for (const part of pointer.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
    path.push(Array.isArray(value) ? Number(name) : name)
    value = (value as Readonly<Record<string, unknown>>)[name]
  }
  return path
}

const article = (type: string): string => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`)

/** Entries of a set that are there twice, and entries of a map whose keys are. */
function duplicates(value: unknown, schema: Schema, path: Path): Problem[] {
  if (schema.type === 'object' && typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return Object.entries(value).flatMap(([name, inner]) => {
      const declared = fieldSchema(schema, name)
      return declared === undefined ? [] : duplicates(inner, declared, field(path, name))
    })
  }
  if (schema.type !== 'array' || !Array.isArray(value)) return []
  const keys = schema['x-kubernetes-list-map-keys']
  const seen = new Set<string>()
  return value.flatMap((entry: unknown, index) => {
    const here = item(path, index)
    const inner = duplicates(entry, schema.items, here)
    if (schema['x-kubernetes-list-type'] === 'atomic') return inner
    const identity = JSON.stringify(
      keys === undefined ? entry : keys.map((key) => (entry as Readonly<Record<string, unknown>> | null)?.[key]),
    )
    const twice = seen.has(identity)
    seen.add(identity)
    return twice
      ? [{ path: here, message: `is there twice${keys ? ` (same ${keys.join(', ')})` : ''}` }, ...inner]
      : inner
  })
}
