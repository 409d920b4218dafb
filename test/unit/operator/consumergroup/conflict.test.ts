import assert from 'node:assert/strict'
import { test } from 'node:test'
import { conflictOf } from '../../../../operator/consumergroup/conflict.ts'
import { aGroup, aService } from './fixture.ts'

const group = (name: string, put = {}) => aGroup({ 'metadata.name': name, ...put })
const rival = (name: string, put = {}) => ({ group: group(name, put), service: aService() })

test('of two that were made in the same second the one with the lower uid is the older', () => {
  const both = [rival('a'), rival('b')]
  assert.equal(conflictOf(group('a'), aService(), both), undefined)
  assert.match(conflictOf(group('b'), aService(), both) ?? '', /ConsumerGroup a is older/)
})

test('nobody is in conflict with itself', () => {
  assert.equal(conflictOf(group('a'), aService(), [rival('a')]), undefined)
})

test('the oldest of several is named', () => {
  const at = (day: number) => ({ 'metadata.creationTimestamp': `2025-11-0${day}T00:00:00Z` })
  const rivals = [rival('b', at(2)), rival('a', at(1)), rival('c', at(3))]
  assert.match(conflictOf(group('d'), aService(), rivals) ?? '', /ConsumerGroup a is older/)
})

test('a group whose service is not there takes the group id of nobody', () => {
  const older = { group: group('a', { 'spec.calculateServiceRef.name': 'gone' }), service: undefined }
  assert.equal(conflictOf(group('b'), aService(), [older]), undefined)
})
