import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OnKafka } from '../../faults/collect.ts'
import { joined } from '../../faults/deleted-topic.ts'

const record = (topic: string, call: string) => ({
  topic,
  partition: 0,
  offset: 0,
  at: 1,
  call,
  attempt: 1,
  deadline: 9,
})
const commit = (topic: string, offset: number, at: number) => ({ topic, partition: 0, offset, at })

test('of a topic that was deleted both lives are kept apart, and commits in between are left out', () => {
  const kept: OnKafka = {
    records: [record('calls', 'old'), record('calls.retry.1', 'old')],
    buried: new Set(),
    commits: [commit('calls', 1, 50)],
    ids: new Map([['old', '01']]),
  }
  const last: OnKafka = {
    records: [record('calls', 'new'), record('calls.retry.1', 'old')],
    buried: new Set(['old']),
    commits: [
      commit('calls', 1, 50),
      commit('calls', 1, 110),
      commit('calls', 0, 210),
      commit('calls.retry.1', 1, 110),
    ],
    ids: new Map([['new', '02']]),
  }
  const fault = { kind: 'delete-topic', what: 'calls', at: 100, until: 200 }
  assert.deepEqual(joined(kept, last, 'calls', fault), {
    records: [record('calls (deleted)', 'old'), record('calls', 'new'), record('calls.retry.1', 'old')],
    buried: new Set(['old']),
    commits: [commit('calls (deleted)', 1, 50), commit('calls', 0, 210), commit('calls.retry.1', 1, 110)],
    ids: new Map([
      ['old', '01'],
      ['new', '02'],
    ]),
  })
})
