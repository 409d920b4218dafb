import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  callKey,
  observedKey,
  observedStartsKey,
  replyChannel,
  startsKey,
  workingKey,
} from '../../../../sidecar/results/keys.ts'

const id = Buffer.from('00112233445566778899aabbccddeeff', 'hex')

/** Redis Cluster hashes what stands between the first brace and the next closing one. */
const hashTag = (key: string): string => /\{(.+?)\}/.exec(key)?.[1] ?? key

test('the names in Redis, which replicas of several versions share', () => {
  assert.equal(callKey(id), 'gk:{00112233445566778899aabbccddeeff}')
  assert.equal(startsKey(id), 'gk:{00112233445566778899aabbccddeeff}:starts')
  assert.equal(startsKey(id, 3), 'gk:{00112233445566778899aabbccddeeff}:starts:3')
  assert.equal(observedKey(id, 'audit'), 'gk:{00112233445566778899aabbccddeeff}:observed:audit')
  assert.equal(observedStartsKey(id, 'audit'), 'gk:{00112233445566778899aabbccddeeff}:observed:audit:starts')
  assert.equal(replyChannel('proxy-1'), 'gk:reply:proxy-1')
  assert.equal(workingKey('group', 'topic', 3), 'gk:working:{group/topic/3}')
})

test('what one script touches for a call lies in one slot', () => {
  const keys = [callKey(id), startsKey(id), observedKey(id, 'a{b}c'), observedStartsKey(id, 'a{b}c'), startsKey(id, 1)]
  assert.equal(new Set(keys.map(hashTag)).size, 1)
  assert.equal(new Set(keys).size, keys.length)
})

test('partitions, topics and groups have words of their own', () => {
  const keys = [workingKey('g', 't', 1), workingKey('g', 't', 11), workingKey('g', 't1', 1), workingKey('g1', 't', 1)]
  assert.equal(new Set(keys).size, keys.length)
})
