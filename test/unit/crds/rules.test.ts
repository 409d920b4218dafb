import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { formatPath } from '../../../crds/path.ts'
import { compileRules } from '../../../crds/rules.ts'
import type { Schema } from '../../../crds/schema.ts'

const check = (schema: Schema, value: unknown, old?: unknown): readonly string[] =>
  compileRules(schema)
    .check(value, old === undefined ? undefined : { value: old }, () => false)
    .map(({ path, message }) => `${formatPath(path)}: ${message}`)

const integer = (rule: string): Schema => ({
  type: 'integer',
  'x-kubernetes-validations': [{ rule, message: 'no' }],
})

describe('compileRules', () => {
  test('refuses at once what is not CEL', () => {
    assert.throws(() => compileRules(integer('self >=')), { message: 'the rule "self >=" is not CEL' })
  })

  test('an integer is an int, and stays exact', () => {
    assert.deepEqual(check(integer('self % 2 == 1'), 9_007_199_254_740_991), [])
    assert.deepEqual(check(integer('self % 2 == 0'), 9_007_199_254_740_991), ['(root): no'])
  })

  test('a rule that cannot be evaluated is a problem, not a pass', () => {
    const [problem] = check(integer('self.startsWith("a")'), 1)
    assert.match(problem ?? '', /^\(root\): the rule "self.startsWith\("a"\)" cannot be evaluated: /)
    assert.deepEqual(check(integer('self + 1'), 1), [
      '(root): the rule "self + 1" cannot be evaluated: its value is not a boolean',
    ])
    assert.match(check(integer('nobody(self)'), 1)[0] ?? '', /cannot be evaluated/)
  })

  test('a rule does not see what the schema does not declare', () => {
    const schema: Schema = {
      type: 'object',
      properties: {},
      'x-kubernetes-preserve-unknown-fields': true,
      'x-kubernetes-validations': [{ rule: 'has(self.hidden)', message: 'not seen' }],
    }
    assert.deepEqual(check(schema, { hidden: 1 }), ['(root): not seen'])
  })

  test('an entry of a list of type map is compared with the one of the same key', () => {
    const schema: Schema = {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      items: { type: 'object', properties: { name: { type: 'string' }, size: integer('self >= oldSelf') } },
    }
    const old = [
      { name: 'a', size: 5 },
      { name: 'b', size: 1 },
    ]
    assert.deepEqual(
      check(
        schema,
        [
          { name: 'b', size: 2 },
          { name: 'a', size: 4 },
          { name: 'c', size: 0 },
        ],
        old,
      ),
      ['[1].size: no'],
    )
  })

  test('entries of other lists have no earlier state', () => {
    const schema: Schema = { type: 'array', 'x-kubernetes-list-type': 'atomic', items: integer('self == oldSelf') }
    assert.deepEqual(check(schema, [2], [1]), [])
  })

  test("a map's values are compared by key", () => {
    const schema: Schema = { type: 'object', additionalProperties: integer('self == oldSelf') }
    assert.deepEqual(check(schema, { 'a.b': 2, c: 1 }, { 'a.b': 1 }), ['["a.b"]: no'])
  })
})
