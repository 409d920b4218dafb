import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planInstances } from '../../../../operator/registry/consul-plan.ts'
import type { ConsulInstance, ObservedInstance } from '../../../../operator/registry/consul-plan.ts'

const UNCHECKED: ObservedInstance = {
  id: 'a',
  service: 'calc',
  address: '10.0.0.1',
  port: 50051,
  tags: ['one', 'two'],
  meta: { x: '1', y: '2' },
}
const A: ConsulInstance = { ...UNCHECKED, health: 'passing' }
const B: ConsulInstance = { ...A, id: 'b', address: '10.0.0.2' }

interface Row {
  readonly name: string
  readonly wanted: readonly ConsulInstance[]
  readonly observed: readonly ObservedInstance[]
  readonly actions: readonly string[]
}

const ROWS: readonly Row[] = [
  { name: 'nothing wanted and nothing there is nothing to do', wanted: [], observed: [], actions: [] },
  { name: 'one that is not there is registered', wanted: [A], observed: [], actions: ['RegisterInstance a'] },
  { name: 'one that is there is left alone', wanted: [A], observed: [A], actions: [] },
  {
    name: 'the order of tags and meta does not matter',
    wanted: [A],
    observed: [{ ...A, tags: ['two', 'one'], meta: { y: '2', x: '1' } }],
    actions: [],
  },
  { name: 'an orphan is deregistered', wanted: [], observed: [A], actions: ['DeregisterInstance a'] },
  {
    name: 'orphans go before others come',
    wanted: [B],
    observed: [A],
    actions: ['DeregisterInstance a', 'RegisterInstance b'],
  },
  {
    name: 'those that take no calls are told before those that do',
    wanted: [A, { ...B, health: 'critical' }],
    observed: [{ ...A, health: 'critical' }, B],
    actions: ['RegisterInstance b', 'RegisterInstance a'],
  },
  ...(
    [
      ['service', { service: 'other' }],
      ['address', { address: '10.0.0.9' }],
      ['port', { port: 1 }],
      ['tags', { tags: ['one'] }],
      ['a value of meta', { meta: { x: '1', y: '3' } }],
      ['a key of meta', { meta: { x: '1', y: '2', z: '3' } }],
      ['health', { health: 'critical' }],
    ] as const
  ).map(([what, change]): Row => ({
    name: `another ${what} is written`,
    wanted: [A],
    observed: [{ ...A, ...change }],
    actions: ['RegisterInstance a'],
  })),
  { name: 'a check that is gone is written', wanted: [A], observed: [UNCHECKED], actions: ['RegisterInstance a'] },
]

for (const { name, wanted, observed, actions } of ROWS) {
  test(name, () => {
    const planned = planInstances(wanted, observed)
    assert.deepEqual(
      planned.map((action) => `${action.type} ${action.type === 'RegisterInstance' ? action.instance.id : action.id}`),
      actions,
    )
    // What was done is not planned again.
    const left = planInstances(wanted, wanted)
    assert.deepEqual(left, [])
  })
}
