import assert from 'node:assert/strict'
import test from 'node:test'
import { isNewEnough } from '../../../../local/platform/go.ts'

test('Go is new enough from 1.21 on, by its own words and by those of Debian', () => {
  const versions = [
    'go version go1.26.8 linux/amd64',
    'go version go1.21 linux/arm64',
    '2:1.24~2',
    'go version go2.0 x',
  ]
  assert.deepEqual(
    versions.filter((version) => !isNewEnough(version)),
    [],
  )
  const old = ['go version go1.20.14 linux/amd64', 'go version go1.9.7 linux/amd64', '2:1.19~1']
  assert.deepEqual(old.filter(isNewEnough), [])
})

test('a Go that was built from its repository is left to try', () => {
  assert.equal(isNewEnough('go version devel go-tip linux/amd64'), true)
})
