import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertSchema, readDefinitions, type Schema } from '../../../crds/schema.ts'

const refuses = (schema: unknown, message: string) =>
  assert.throws(() => assertSchema(schema, 'here'), { message: `here${message}` })

describe('assertSchema', () => {
  test('refuses what it would silently not enforce', () => {
    refuses({ type: 'string', not: {} }, ': the schema keyword not is not understood')
    refuses({ type: 'integer', multipleOf: 2 }, ': the schema keyword multipleOf is not understood')
    refuses(
      { type: 'object', properties: { a: { type: 'string', nullable: true } } },
      '.a: the schema keyword nullable is not understood',
    )
    refuses(
      { type: 'string', 'x-kubernetes-validations': [{ rule: 'true', messageExpression: 'self' }] },
      ': the rule keyword messageExpression is not understood',
    )
  })

  test('refuses what has no type, and an array without a list type', () => {
    refuses(
      { 'x-kubernetes-int-or-string': true },
      ": the schema's type must be one of object, array, string, integer, boolean",
    )
    refuses(null, ": the schema's type must be one of object, array, string, integer, boolean")
    refuses({ type: 'array', items: { type: 'string' } }, ': the array has no list type')
    refuses(
      { type: 'object', additionalProperties: {} },
      ".*: the schema's type must be one of object, array, string, integer, boolean",
    )
  })

  test('refuses rules on a default that the API server would run too early', () => {
    refuses(
      { type: 'object', default: {}, 'x-kubernetes-validations': [{ rule: 'true', message: '' }] },
      ': the API server runs rules on a default before it is filled in; put them on the parent',
    )
  })
})

/** Every schema node with its place. */
function* nodes(schema: Schema, place: string): Generator<readonly [string, Schema]> {
  yield [place, schema]
  if (schema.type === 'array') yield* nodes(schema.items, `${place}[]`)
  if (schema.type !== 'object') return
  for (const [name, inner] of Object.entries(schema.properties ?? {})) yield* nodes(inner, `${place}.${name}`)
  if (schema.additionalProperties !== undefined) yield* nodes(schema.additionalProperties, `${place}.*`)
}

describe('the definitions', () => {
  const all = readDefinitions().flatMap(({ kind, schema }) => [
    ...nodes(schema.properties!['spec']!, kind),
    ...nodes(schema.properties!['status']!, `${kind}.status`),
  ])

  test('are our three kinds', () => {
    assert.deepEqual(
      readDefinitions().map(({ apiVersion, kind }) => `${apiVersion} ${kind}`),
      ['CalculateService', 'ConsumerGroup', 'RetryPolicy'].map((kind) => `grpckafka.dev/v1alpha1 ${kind}`),
    )
  })

  test('bound every string, number, list and map', () => {
    const unbound = all.filter(([, schema]) => {
      if (schema.type === 'string') return schema.enum === undefined && schema.maxLength === undefined
      if (schema.type === 'integer') return schema.minimum === undefined || schema.maximum === undefined
      if (schema.type === 'array') return schema.maxItems === undefined
      return schema.type === 'object' && schema.additionalProperties !== undefined && schema.maxProperties === undefined
    })
    assert.deepEqual(
      unbound.map(([place]) => place),
      [],
    )
  })

  test('name the unit of every duration and size', () => {
    const names = all.filter(([, schema]) => schema.type === 'integer').map(([place]) => place.split('.').at(-1)!)
    assert.deepEqual(
      names.filter((name) => /(timeout|retention|backoff|interval)$/i.test(name)),
      [],
    )
  })

  test('describe every field', () => {
    const silent = all.filter(([place, schema]) => !/(\[\]|\.\*)$/.test(place) && schema.description === undefined)
    assert.deepEqual(
      silent.map(([place]) => place),
      [],
    )
  })
})
