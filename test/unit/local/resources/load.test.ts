import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import test from 'node:test'
import fc from 'fast-check'
import { loadResources } from '../../../../local/resources/load.ts'
import { ResourcesError } from '../../../../local/resources/origin.ts'
import { folder, group, service } from './files.ts'

const problemsOf = async (paths: readonly string[]): Promise<readonly string[]> => {
  try {
    await loadResources(paths)
  } catch (error) {
    assert.ok(error instanceof ResourcesError)
    return error.problems
  }
  return assert.fail('the resources were accepted')
}

test('a folder is read as kubectl reads it: every YAML and JSON file, each of their documents, and no folder below', async (context) => {
  const directory = await folder(context, {
    'a.yaml': `${service('orders')}---\n${group('orders', 'orders')}---\n# nothing\n`,
    'b.yml': service('returns'),
    'c.json': JSON.stringify({
      apiVersion: 'grpckafka.dev/v1alpha1',
      kind: 'RetryPolicy',
      metadata: { name: 'r' },
      spec: {},
    }),
    'package.json': '{}',
    'orders.proto': 'syntax = "proto3";',
    'below/d.yaml': service('hidden'),
    'notes.txt': ':',
  })
  const loaded = await loadResources([directory])
  assert.deepEqual(
    loaded.services.map(({ resource }) => resource.metadata.name),
    ['orders', 'returns'],
  )
  assert.deepEqual(
    loaded.groups.map(({ origin }) => origin),
    [{ file: join(directory, 'a.yaml'), directory, document: 2, title: 'ConsumerGroup orders' }],
  )
  assert.equal(loaded.policies[0]?.resource.spec.maxAttempts, 3, 'defaults are filled in')
  assert.deepEqual(loaded.protoFiles, [join(directory, 'orders.proto')])
})

test('kinds of other API groups are named and left alone', async (context) => {
  const secret = 'apiVersion: v1\nkind: Secret\nmetadata: { name: redis }\n'
  const directory = await folder(context, { 'a.yaml': `${service('orders')}---\n${secret}` })
  assert.deepEqual((await loadResources([directory])).ignored, ['Secret redis'])
})

test('every problem of every file comes at once, with file, document and field', async (context) => {
  const directory = await folder(context, {
    'a.yaml': `${service('orders', '  proxy: { port: 0 }\n')}---\n${group('orders', 'orders', '  colour: red\n')}`,
    'b.yaml': 'a: [\n',
    'c.yaml': 'just text',
    'd.yaml': 'apiVersion: grpckafka.dev/v2\nkind: CalculateService\nmetadata: { name: x }\n',
  })
  const problems = await problemsOf([directory, join(directory, 'absent.yaml')])
  const shown = (name: string): string => {
    const path = relative(process.cwd(), join(directory, name))
    return path.startsWith('..') ? join(directory, name) : path
  }
  assert.deepEqual(
    problems.map((line) => line.replace(/: (Flow|Block).*/, ': YAML')),
    [
      `${join(directory, 'absent.yaml')}: cannot be read (ENOENT)`,
      `${shown('a.yaml')}, document 1 (CalculateService orders): spec.proxy.port: must be >= 1`,
      `${shown('a.yaml')}, document 2 (ConsumerGroup orders): spec.colour: is not a field of this resource`,
      `${shown('b.yaml')}, document 1: YAML`,
      `${shown('c.yaml')}, document 1: (root): must be a Kubernetes object`,
      `${shown('d.yaml')}, document 1 (CalculateService x): apiVersion: must be grpckafka.dev/v1alpha1, not "grpckafka.dev/v2"`,
    ],
  )
})

test('the same resource twice is a problem, in another namespace it is another resource', async (context) => {
  const other = service('orders').replace('name: orders }\nspec', 'name: orders, namespace: two }\nspec')
  const directory = await folder(context, {
    'a.yaml': `${service('orders')}---\n${other}`,
    'b.yaml': service('orders'),
  })
  const problems = await problemsOf([directory])
  assert.equal(problems.length, 1)
  assert.match(problems[0] ?? '', /b\.yaml, document 1 .*metadata\.name: is already in .*a\.yaml, document 1$/)
})

test('without a CalculateService there is nothing to run', async (context) => {
  const directory = await folder(context, { 'a.yaml': group('orders', 'orders') })
  assert.deepEqual(await problemsOf([directory]), [`no CalculateService is in ${directory}`])
  const empty = await folder(context, {})
  assert.match((await problemsOf([empty])).join(), /has no \*\.yaml/)
})

/** Runs of the property below. */
const RUNS = 500

test(`whatever a file holds, it is read or its problems are told, each with the file (${RUNS} runs)`, async (context) => {
  const directory = await folder(context, {})
  const file = join(directory, 'any.yaml')
  const whole = `${service('orders')}---\n${group('orders', 'orders')}`
  const piece = fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.constantFrom(
      '---\n',
      '...',
      '&a',
      '*a',
      '<<: *a',
      '!!binary ',
      '!!set',
      '? ',
      '- ',
      ': ',
      '[',
      '{',
      '|',
      '>-',
      '%YAML 9',
      '"',
      '\t',
      '\0',
      '\ufeff',
      '.nan',
      '1e999',
      'null',
      '~',
      '__proto__: {a: 1}\n',
      '!x',
      '#',
    ),
  )
  const mended = fc
    .record({ at: fc.nat(whole.length), skip: fc.nat(20), piece })
    .map((cut) => whole.slice(0, cut.at) + cut.piece + whole.slice(cut.at + cut.skip))
  const text = fc.oneof(
    mended,
    fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join('')),
    fc.string(),
  )
  await fc.assert(
    fc.asyncProperty(text, async (held) => {
      await writeFile(file, held)
      try {
        const { services } = await loadResources([file])
        assert.equal(services.length, 1)
      } catch (error) {
        assert.ok(error instanceof ResourcesError, String(error))
        for (const problem of error.problems) assert.ok(problem.includes('any.yaml'), problem)
      }
    }),
    { numRuns: RUNS },
  )
})

for (const [what, text] of [
  ['nested twenty thousand deep', '['.repeat(20_000)],
  [
    'of aliases that stand for a thousand million values',
    'a: &a [1,1,1,1,1,1,1,1]\n' +
      'bcdefghij'
        .split('')
        .map((name, index) => `${name}: &${name} [${Array(8).fill(`*${'abcdefghij'[index]}`).join()}]\n`)
        .join(''),
  ],
  ['whose kind is no text and cannot be made one', 'apiVersion: { toString: 1 }\nkind: { toString: 1 }\n'],
  ['whose kind holds itself', 'kind: &a [*a]\n'],
  [
    'with a list of names that holds itself',
    service('orders').replace('methods: [', 'methods: [&m { name: A, metadata: [*m] }, '),
  ],
  ['that holds itself', service('orders').replace('spec:', 'spec: &self\n  proxy: *self')],
] as const) {
  test(`a document ${what} is a problem`, async (context) => {
    const directory = await folder(context, { 'a.yaml': text })
    assert.equal((await problemsOf([directory]))[0]?.includes('a.yaml, document 1'), true)
  })
}
