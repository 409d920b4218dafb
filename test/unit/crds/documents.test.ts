/** Every resource that people are shown, in prose or as a file, is one that an API server takes. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describe, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { validateResource } from '../../../crds/validate.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))

const isOurs = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  String((value as { apiVersion?: unknown }).apiVersion).startsWith('grpckafka.dev/')

async function* texts(): AsyncGenerator<readonly [place: string, yaml: string]> {
  for await (const file of glob('examples/**/*.yaml', { cwd: root })) {
    yield [file, readFileSync(`${root}${file}`, 'utf8')]
  }
  for await (const file of glob(['*.md', 'docs/**/*.md', 'examples/**/*.md'], { cwd: root })) {
    const blocks = [...readFileSync(`${root}${file}`, 'utf8').matchAll(/^```ya?ml\n(?<yaml>.*?)^```$/gms)]
    for (const [index, block] of blocks.entries()) yield [`${file}, block ${index + 1}`, block.groups!['yaml']!]
  }
}

const shown: (readonly [place: string, resource: unknown])[] = []
for await (const [place, yaml] of texts()) {
  for (const document of parseAllDocuments(yaml)) {
    const value: unknown = document.toJS()
    if (isOurs(value)) shown.push([`${place}: ${(value as { kind: string }).kind}`, value])
  }
}

describe('resources shown to people', () => {
  test('there are some', () => assert.ok(shown.length > 0))
  for (const [place, resource] of shown) {
    test(place, () => {
      const result = validateResource(resource)
      assert.deepEqual(result.ok ? [] : result.problems, [])
    })
  }
})
