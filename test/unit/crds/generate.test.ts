import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { generateTypes, TYPES_FILE } from '../../../crds/generate.ts'
import { readDefinitions } from '../../../crds/schema.ts'

test('types.ts is what the definitions say', async () => {
  assert.equal(readFileSync(TYPES_FILE, 'utf8'), await generateTypes(readDefinitions()))
})

test('a field is optional only where nothing fills it in', async () => {
  const text = await generateTypes([
    {
      apiVersion: 'example/v1',
      kind: 'Thing',
      schema: {
        type: 'object',
        properties: {
          spec: {
            type: 'object',
            required: ['must'],
            properties: {
              must: { type: 'string' },
              may: { type: 'boolean' },
              filled: { type: 'integer', default: 3, minimum: 1, maximum: 5, description: 'A count.' },
              words: { type: 'array', 'x-kubernetes-list-type': 'set', items: { type: 'string', enum: ['a', 'b'] } },
              open: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
              map: { type: 'object', additionalProperties: { type: 'string' } },
            },
          },
          status: { type: 'object', description: 'What is.', properties: { seen: { type: 'boolean' } } },
        },
      },
    },
  ])
  for (const line of [
    'readonly must: string',
    'readonly may?: boolean',
    'readonly filled: number',
    '/** A count. 1 to 5. Default 3. */',
    "readonly words?: readonly ('a' | 'b')[]",
    'readonly [field: string]: unknown',
    'readonly map?: Readonly<Record<string, string>>',
    '/** What is. */\n  readonly status?: {\n    readonly seen?: boolean\n',
  ]) {
    assert.ok(text.includes(line), `${line} is not in\n${text}`)
  }
})
