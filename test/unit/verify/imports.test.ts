import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { findImports, importProblems, refuseImport } from '../../../local/verify/imports.ts'

describe('findImports', () => {
  // Written with a placeholder, so that this file's own imports stay those at its top.
  const found = (text: string) => findImports(text.replaceAll('IMPORT', 'import').replaceAll('EXPORT', 'export'))

  const forms: readonly (readonly [text: string, ...specifiers: string[]])[] = [
    [`IMPORT a from './a.ts'`, './a.ts'],
    [`IMPORT type { A } from "./a.ts"`, './a.ts'],
    [`IMPORT {\n  a,\n  type B,\n} from './a.ts'`, './a.ts'],
    [`IMPORT * as a from 'a'`, 'a'],
    [`IMPORT './a.ts'`, './a.ts'],
    [`EXPORT { a } from './a.ts'`, './a.ts'],
    [`EXPORT * from './a.ts'`, './a.ts'],
    [`EXPORT type { A } from './a.ts'`, './a.ts'],
    [`const a = await IMPORT('./a.ts')`, './a.ts'],
    [`type A = IMPORT('./a.ts').A`, './a.ts'],
    [`EXPORT const a = 'b'`],
    [`EXPORT const list = [\n  'from',\n  'x',\n]`],
    [`EXPORT function f() {\n  return Array.from('abc')\n}`],
    [`// IMPORT a from './a.ts'`],
    [` * IMPORT a from './a.ts'`],
    [`IMPORT a from 'a'\nIMPORT b from 'b'`, 'a', 'b'],
  ]
  for (const [text, ...specifiers] of forms) {
    test(JSON.stringify(text), () =>
      assert.deepEqual(
        found(text).map(({ specifier }) => specifier),
        specifiers,
      ),
    )
  }

  test('names the line of the specifier', () => {
    assert.deepEqual(found(`\n\nIMPORT {\n  a,\n} from 'a'\n`), [{ specifier: 'a', line: 5 }])
  })
})

describe('refuseImport', () => {
  const allowed: readonly (readonly [file: string, specifier: string])[] = [
    ['crds/validate.ts', './types.ts'],
    ['crds/validate.ts', 'ajv'],
    ['crds/validate.ts', 'node:fs'],
    ['operator/kafka/topics.ts', '../../crds/types.ts'],
    ['operator/kafka/topics.ts', '../../sidecar/config.ts'],
    ['operator/kafka/topics.ts', '../placement.ts'],
    ['sidecar/kafka/client.ts', 'kafkajs'],
    ['sidecar/results/store.ts', 'ioredis'],
    ['local/kafka/admin.ts', 'kafkajs'],
    ['local/route.ts', '../operator/kafka/topics.ts'],
    ['local/route.ts', '../sidecar/main.ts'],
    ['test/integration/a.test.ts', 'kafkajs'],
    ['test/integration/a.test.ts', '../../local/route.ts'],
    ['examples/calculator/server.ts', '@grpc/grpc-js'],
  ]
  for (const [file, specifier] of allowed) {
    test(`${file} may import ${specifier}`, () => assert.equal(refuseImport(file, specifier), undefined))
  }

  const refused: readonly (readonly [file: string, specifier: string, problem: string])[] = [
    ['crds/validate.ts', '../sidecar/config.ts', 'imports sidecar/config.ts; crds/ may import only itself'],
    ['sidecar/main.ts', '../crds/types.ts', 'imports crds/types.ts; sidecar/ may import only itself'],
    ['sidecar/main.ts', '../local/route.ts', 'imports local/route.ts; sidecar/ may import only itself'],
    [
      'operator/a/b.ts',
      '../../sidecar/main.ts',
      'imports sidecar/main.ts; operator/ may import only itself and crds/, sidecar/config.ts, sidecar/hot-settings.ts, sidecar/kafka/cluster.ts, sidecar/kafka/idle-timer.ts, sidecar/kafka/topic-names.ts, sidecar/retry-pauses.ts',
    ],
    [
      'operator/a/b.ts',
      '../../local/route.ts',
      'imports local/route.ts; operator/ may import only itself and crds/, sidecar/config.ts, sidecar/hot-settings.ts, sidecar/kafka/cluster.ts, sidecar/kafka/idle-timer.ts, sidecar/kafka/topic-names.ts, sidecar/retry-pauses.ts',
    ],
    [
      'examples/calculator/server.ts',
      '../../sidecar/config.ts',
      'imports sidecar/config.ts; examples/ may import only itself',
    ],
    [
      'local/route.ts',
      '../test/unit/crds/cases.ts',
      'imports test/unit/crds/cases.ts; local/ may import only itself and crds/, operator/, sidecar/, examples/',
    ],
    ['local/route.ts', '../../elsewhere/a.ts', 'imports ../elsewhere/a.ts from outside the repository'],
    ['local/route.ts', '/tmp/a.ts', 'imports by absolute path'],
    [
      'sidecar/worker/worker.ts',
      'kafkajs',
      'imports kafkajs, which stays in sidecar/kafka/, operator/kafka/, local/kafka/, test/',
    ],
    [
      'local/route.ts',
      'kafkajs/src/index.js',
      'imports kafkajs, which stays in sidecar/kafka/, operator/kafka/, local/kafka/, test/',
    ],
    ['sidecar/proxy/proxy.ts', 'ioredis', 'imports ioredis, which stays in sidecar/results/, local/, test/'],
    ['operator/a.ts', '@bufbuild/cel', 'imports @bufbuild/cel, which stays in crds/'],
    ['main.ts', './crds/types.ts', 'stands in no folder of the architecture'],
  ]
  for (const [file, specifier, problem] of refused) {
    test(`${file} may not import ${specifier}`, () => assert.equal(refuseImport(file, specifier), problem))
  }

  test('a folder is not taken for another whose name it begins with', () => {
    assert.match(refuseImport('operator/a.ts', '../crds-more/a.ts') ?? '', /^imports crds-more\/a.ts/)
  })
})

test('a problem names file and line', () => {
  const text = ['', 'IMPORT a from "../local/route.ts"'].join('\n').replace('IMPORT', 'import')
  assert.deepEqual(importProblems('sidecar/main.ts', text), [
    'sidecar/main.ts:2 imports local/route.ts; sidecar/ may import only itself',
  ])
})
