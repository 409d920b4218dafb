import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lockProblems } from '../../../local/verify/lock-file.ts'

const problems = (dependencies: object, packages: object): readonly string[] =>
  lockProblems(JSON.stringify({ dependencies }), JSON.stringify({ packages }))

const good = { '': { dependencies: { a: '1.0.0' } }, 'node_modules/a': { version: '1.0.0', integrity: 'sha512-x' } }

test('a lock file of exact versions without addresses is good', () => {
  assert.deepEqual(problems({ a: '1.0.0' }, good), [])
})

test("a registry's address is refused", () => {
  const packages = { ...good, 'node_modules/a': { ...good['node_modules/a'], resolved: 'https://example/a.tgz' } }
  assert.deepEqual(problems({ a: '1.0.0' }, packages), [
    'package-lock.json: node_modules/a holds a registry\'s address ("resolved")',
  ])
})

test('a package without integrity is refused', () => {
  const packages = { ...good, 'node_modules/a': { version: '1.0.0' } }
  assert.deepEqual(problems({ a: '1.0.0' }, packages), ['package-lock.json: node_modules/a has no integrity'])
})

test('a range, and a lock that lags behind, are refused', () => {
  assert.deepEqual(problems({ a: '^1.0.0' }, good), [
    'package.json: dependencies.a is ^1.0.0, not one exact version',
    'package-lock.json: dependencies are not those of package.json: run npm install',
  ])
})
