/**
 * The CustomResourceDefinitions of this folder, read from their YAML: the one source of what a resource may hold.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { parse } from 'yaml'

/** A CEL rule. One that names `oldSelf` is a transition rule: it holds only against an earlier state. */
export interface Rule {
  readonly rule: string
  readonly message: string
  /** Where the problem lies, relative to the rule's own place (`.startFrom`, `.backoff.maxMilliseconds`). */
  readonly fieldPath?: string
}

interface Common {
  readonly description?: string
  readonly default?: unknown
  readonly 'x-kubernetes-validations'?: readonly Rule[]
}

export interface ObjectSchema extends Common {
  readonly type: 'object'
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: Schema
  readonly maxProperties?: number
  readonly 'x-kubernetes-preserve-unknown-fields'?: true
}

export interface ArraySchema extends Common {
  readonly type: 'array'
  readonly items: Schema
  readonly minItems?: number
  readonly maxItems?: number
  readonly 'x-kubernetes-list-type': 'atomic' | 'set' | 'map'
  readonly 'x-kubernetes-list-map-keys'?: readonly string[]
}

export interface StringSchema extends Common {
  readonly type: 'string'
  readonly enum?: readonly string[]
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
}

export interface IntegerSchema extends Common {
  readonly type: 'integer'
  readonly format?: 'int32' | 'int64'
  readonly minimum?: number
  readonly maximum?: number
}

export interface BooleanSchema extends Common {
  readonly type: 'boolean'
}

/** The part of Kubernetes' structural OpenAPI v3 schemas that our definitions use. */
export type Schema = ObjectSchema | ArraySchema | StringSchema | IntegerSchema | BooleanSchema

/** One served version of one kind. */
export interface Definition {
  /** `group/version`. */
  readonly apiVersion: string
  readonly kind: string
  readonly schema: ObjectSchema
}

/** The schema of an object's field: the declared one, else that of a map's values, else none. */
export function fieldSchema(schema: ObjectSchema, name: string): Schema | undefined {
  // A field may be called `constructor`, which every object inherits.
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, name)) return schema.properties[name]
  return schema.additionalProperties
}

const COMMON = ['type', 'description', 'default', 'x-kubernetes-validations']
const KEYWORDS: Readonly<Record<Schema['type'], ReadonlySet<string>>> = {
  object: new Set([
    ...COMMON,
    'properties',
    'required',
    'additionalProperties',
    'maxProperties',
    'x-kubernetes-preserve-unknown-fields',
  ]),
  array: new Set([...COMMON, 'items', 'minItems', 'maxItems', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys']),
  string: new Set([...COMMON, 'enum', 'minLength', 'maxLength', 'pattern']),
  integer: new Set([...COMMON, 'format', 'minimum', 'maximum']),
  boolean: new Set(COMMON),
}
const RULE_KEYWORDS = new Set(['rule', 'message', 'fieldPath'])

/**
 * Checks that a schema uses only what this folder understands, so that no constraint which the API server would
 * enforce is silently passed over here.
 * @throws Error naming the place of the first keyword that is not understood.
 */
export function assertSchema(value: unknown, place: string): asserts value is Schema {
  const schema = value as Readonly<Record<string, unknown>> | null
  const keywords = KEYWORDS[schema?.['type'] as Schema['type']] as ReadonlySet<string> | undefined
  if (schema === null || keywords === undefined) {
    throw new Error(`${place}: the schema's type must be one of ${Object.keys(KEYWORDS).join(', ')}`)
  }
  for (const keyword of Object.keys(schema)) {
    if (!keywords.has(keyword)) throw new Error(`${place}: the schema keyword ${keyword} is not understood`)
  }
  if (schema['type'] === 'object' && schema['default'] !== undefined && schema['x-kubernetes-validations']) {
    throw new Error(`${place}: the API server runs rules on a default before it is filled in; put them on the parent`)
  }
  for (const rule of (schema['x-kubernetes-validations'] ?? []) as readonly Readonly<Record<string, unknown>>[]) {
    for (const keyword of Object.keys(rule)) {
      if (!RULE_KEYWORDS.has(keyword)) throw new Error(`${place}: the rule keyword ${keyword} is not understood`)
    }
  }
  for (const [name, property] of Object.entries((schema['properties'] ?? {}) as Readonly<Record<string, unknown>>)) {
    assertSchema(property, `${place}.${name}`)
  }
  if (schema['additionalProperties'] !== undefined) assertSchema(schema['additionalProperties'], `${place}.*`)
  if (schema['type'] === 'array') {
    if (schema['x-kubernetes-list-type'] === undefined) throw new Error(`${place}: the array has no list type`)
    assertSchema(schema['items'], `${place}[]`)
  }
}

interface Document {
  readonly kind: string
  readonly spec: {
    readonly group: string
    readonly names: { readonly kind: string }
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: unknown } }[]
  }
}

/**
 * Reads every `*.yaml` beside this file, ordered by file name.
 * @throws Error when a file is not a definition or uses a schema keyword that is not understood.
 */
export function readDefinitions(): readonly Definition[] {
  return readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith('.yaml'))
    .sort()
    .flatMap((file) => {
      const document = parse(readFileSync(`${import.meta.dirname}/${file}`, 'utf8')) as Document
      if (document.kind !== 'CustomResourceDefinition') throw new Error(`${file}: is not a CustomResourceDefinition`)
      return document.spec.versions.map((version) => {
        const schema: unknown = version.schema.openAPIV3Schema
        assertSchema(schema, `${file} ${version.name}`)
        if (schema.type !== 'object') throw new Error(`${file} ${version.name}: the schema is not an object's`)
        return { apiVersion: `${document.spec.group}/${version.name}`, kind: document.spec.names.kind, schema }
      })
    })
}
