import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConsulProblem } from '../../../../operator/registry/consul-problem.ts'
import { PatientCatalog } from '../../../../operator/registry/patient-catalog.ts'
import { FakeClock } from '../controller/fake-clock.ts'
import { FakeConsul } from '../fake-consul.ts'

const SCOPE = { node: 'n', marks: [] }
const SIGNAL = new AbortController().signal
const HERE = 'http://here:8500'
const AWAY = new ConsulProblem('ConsulUnavailable', 'away')

function scene() {
  const clock = new FakeClock()
  const consul = new FakeConsul()
  const asked: string[] = []
  const catalog = new PatientCatalog(
    {
      observe: (access, ...rest) => {
        asked.push(access.address)
        return consul.observe(access, rest[0])
      },
      find: (access, service) => {
        asked.push(access.address)
        return consul.find(access, service)
      },
      execute: (access, node, action) => consul.execute(access, node, action),
    },
    clock,
  )
  const find = (address = HERE) => catalog.find({ address }, 'calc', {}, SIGNAL)
  return { clock, consul, asked, find, ask: (address = HERE) => catalog.observe({ address }, SCOPE, SIGNAL) }
}

test('a Consul that is away is asked by one each five seconds, and others are asked all the same', async () => {
  const { clock, consul, asked, ask } = scene()
  consul.down.set(HERE, AWAY)
  await assert.rejects(ask(), AWAY)
  await assert.rejects(ask(), AWAY)
  clock.advance(4_999)
  await assert.rejects(ask(), AWAY)
  assert.deepEqual(asked, [HERE])
  await ask('http://there:8500')
  clock.advance(1)
  await assert.rejects(ask(), AWAY)
  assert.deepEqual(asked, [HERE, 'http://there:8500', HERE])
})

test('a Consul that is away is not asked either for what proxies registered', async () => {
  const { consul, asked, ask, find } = scene()
  consul.down.set(HERE, AWAY)
  await assert.rejects(ask(), AWAY)
  await assert.rejects(find(), AWAY)
  assert.deepEqual(asked, [HERE])
  await find('http://there:8500')
})

test('a Consul that is back is asked by all', async () => {
  const { clock, consul, asked, ask } = scene()
  consul.down.set(HERE, AWAY)
  await assert.rejects(ask(), AWAY)
  consul.down.clear()
  clock.advance(5_000)
  await ask()
  await ask()
  assert.equal(asked.length, 3)
})

test('a Consul that refuses is not away', async () => {
  const { consul, asked, ask } = scene()
  consul.down.set(HERE, new ConsulProblem('ConsulNotAuthorized', 'no'))
  await assert.rejects(ask())
  await assert.rejects(ask())
  assert.equal(asked.length, 2)
})
