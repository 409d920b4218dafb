import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { LeaderElector } from '../../../../operator/controller/leader.ts'
import { RestClient } from '../../../../operator/controller/rest-client.ts'
import { FakeApiServer } from './fake-api-server.ts'
import { FakeClock, passUntil, settle } from './fake-clock.ts'

const PATH = '/apis/coordination.k8s.io/v1/namespaces/ns/leases/operator'

async function startElection(t: TestContext) {
  const server = await FakeApiServer.start()
  const clock = new FakeClock()
  clock.busy = () => server.busy
  const ends: (() => Promise<void>)[] = []
  t.after(async () => {
    for (const end of ends) await end()
    await server.close()
    assert.equal(clock.pending, 0, 'a timer is left')
  })
  const candidate = (identity: string) => {
    const transport = server.transport()
    const elector = new LeaderElector({
      client: new RestClient({ transport, clock, requestTimeoutMilliseconds: 5000 }),
      clock,
      random: () => 0.5,
      logger: pino({ level: 'silent' }),
      namespace: 'ns',
      name: 'operator',
      identity,
    })
    const stop = new AbortController()
    const state = { elector, stop, acquired: undefined as boolean | undefined, lost: undefined as unknown }
    const acquiring = elector.acquire(stop.signal).then((acquired) => (state.acquired = acquired))
    /** Renews until `stop`, or until the lease is lost. */
    const hold = () => {
      const holding = elector.hold(stop.signal).catch((error: unknown) => (state.lost = error))
      ends.push(async () => void (await holding))
    }
    ends.push(async () => {
      stop.abort(new Error('the test ends'))
      await acquiring
      transport.close()
    })
    return Object.assign(state, { hold })
  }
  const holder = () => (server.get(PATH)?.['spec'] as { holderIdentity?: string } | undefined)?.holderIdentity
  const spec = () => server.get(PATH)?.['spec'] as Readonly<Record<string, unknown>>
  return { server, clock, candidate, holder, spec }
}

describe('LeaderElector', () => {
  test('takes a lease that is not there yet', async (t) => {
    const { clock, candidate, spec } = await startElection(t)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
    assert.equal(one.elector.mayWrite(), true)
    const { holderIdentity, leaseDurationSeconds, leaseTransitions, renewTime } = spec()
    assert.deepEqual([holderIdentity, leaseDurationSeconds, leaseTransitions], ['one', 15, 0])
    assert.match(String(renewTime), /^2026-01-01T00:00:00\.[0-9]{6}Z$/)
  })

  test('renews it every two seconds, and nobody else gets it', async (t) => {
    const { server, clock, candidate, holder } = await startElection(t)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
    one.hold()
    const two = candidate('two')
    const began = clock.monotonic()
    await passUntil(clock, () => clock.monotonic() - began >= 60_000, { step: 500 })
    assert.equal(holder(), 'one')
    assert.equal(two.acquired, undefined)
    const renewals = server.seen('PUT').length
    assert.ok(renewals >= 29 && renewals <= 30, `${renewals} renewals`)
  })

  test('waits fifteen seconds from when it saw the lease of one who is gone, whatever is written in it', async (t) => {
    for (const renewTime of ['1999-01-01T00:00:00.000000Z', '2099-01-01T00:00:00.000000Z']) {
      const { server, clock, candidate, spec } = await startElection(t)
      server.put(PATH, { spec: { holderIdentity: 'gone', leaseDurationSeconds: 15, renewTime, leaseTransitions: 4 } })
      const one = candidate('one')
      await passUntil(clock, () => one.acquired === true)
      assert.ok(clock.monotonic() >= 15_000 && clock.monotonic() < 20_000, `${clock.monotonic()}`)
      assert.equal(spec()['leaseTransitions'], 5)
      one.stop.abort()
    }
  })

  test('takes a lease that was given back at once', async (t) => {
    const { clock, candidate, holder } = await startElection(t)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
    const two = candidate('two')
    await settle()
    await one.elector.release()
    assert.equal(one.elector.mayWrite(), false)
    assert.equal(holder(), '')
    const began = clock.monotonic()
    await passUntil(clock, () => two.acquired === true)
    assert.ok(clock.monotonic() - began <= 5000, 'within one try')
    assert.equal(holder(), 'two')
  })

  test('gives up after ten seconds without a renewal, before others may take over', async (t) => {
    const { server, clock, candidate } = await startElection(t)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
    const acquiredAt = clock.monotonic()
    server.fail({ kind: 'Status', status: 500 }, 1000)
    one.hold()
    await passUntil(clock, () => one.lost !== undefined)
    assert.equal((one.lost as { code?: string }).code, 'LEADERSHIP_LOST')
    assert.equal(one.elector.leading, false)
    assert.ok(clock.monotonic() - acquiredAt <= 13_000)
  })

  test('survives an API server that is away for less', async (t) => {
    for (const kind of ['Hang', 'Reset'] as const) {
      const { server, clock, candidate } = await startElection(t)
      const one = candidate('one')
      await passUntil(clock, () => one.acquired === true)
      one.hold()
      server.fail({ kind }, 1)
      await passUntil(clock, () => server.seen('PUT').length >= 3)
      assert.equal(one.lost, undefined)
      assert.equal(one.elector.mayWrite(), true)
    }
  })

  test('gives up at once when another has the lease', async (t) => {
    const { server, clock, candidate } = await startElection(t)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
    one.hold()
    server.put(PATH, { spec: { holderIdentity: 'two', leaseDurationSeconds: 15, leaseTransitions: 1 } })
    const began = clock.monotonic()
    await passUntil(clock, () => one.lost !== undefined)
    assert.ok(clock.monotonic() - began <= 2100)
  })

  test('does not go on when another led meanwhile and gave the lease back', async (t) => {
    const { server, clock, candidate } = await startElection(t)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
    one.hold()
    server.put(PATH, { spec: { holderIdentity: '', leaseDurationSeconds: 1, leaseTransitions: 2 } })
    await passUntil(clock, () => one.lost !== undefined)
  })

  test('may not write any more when it stood still for longer than its lease, before it knows', async (t) => {
    const { clock, candidate } = await startElection(t)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
    clock.advance(14_900)
    assert.equal(one.elector.mayWrite(), true)
    clock.advance(200)
    assert.equal(one.elector.mayWrite(), false)
    assert.equal(one.elector.leading, true)
  })

  test('of two who find the lease run out, one gets it', async (t) => {
    const { server, clock, candidate } = await startElection(t)
    server.put(PATH, { spec: { holderIdentity: '', leaseDurationSeconds: 1 } })
    const both = [candidate('one'), candidate('two')]
    await passUntil(clock, () => both.some(({ acquired }) => acquired))
    await settle()
    assert.equal(both.filter(({ elector }) => elector.leading).length, 1)
  })

  test('goes on trying through every error', async (t) => {
    const { server, clock, candidate } = await startElection(t)
    server.fail({ kind: 'Status', status: 403 }, 3)
    server.fail({ kind: 'Reset' }, 3)
    server.fail({ kind: 'Hang' }, 1)
    server.fail({ kind: 'Status', status: 200, body: '{' }, 1)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
  })

  test('is no problem while an API server asks it for patience all the time', async (t) => {
    const { server, clock, candidate } = await startElection(t)
    server.fail({ kind: 'Status', status: 429, retryAfter: '60' }, 1000)
    const one = candidate('one')
    const problems = new Set<string | undefined>()
    await passUntil(clock, () => problems.add(one.elector.problem()) && clock.monotonic() > 300_000, { step: 2000 })
    assert.deepEqual([...problems], [undefined])
  })

  test('stops waiting when it is told to', async (t) => {
    const { server, clock, candidate, holder } = await startElection(t)
    server.put(PATH, { spec: { holderIdentity: 'other', leaseDurationSeconds: 15 } })
    const one = candidate('one')
    await passUntil(clock, () => server.seen('GET').length === 1)
    one.stop.abort()
    await passUntil(clock, () => one.acquired === false)
    await one.elector.release()
    assert.equal(holder(), 'other')
  })

  test('is a problem when it leads and has not renewed for long, or does not try any more', async (t) => {
    const { clock, candidate } = await startElection(t)
    const one = candidate('one')
    await passUntil(clock, () => one.acquired === true)
    assert.equal(one.elector.problem(), undefined)
    clock.advance(36_000)
    assert.match(one.elector.problem() ?? '', /not renewed/)
    await one.elector.release()
    clock.advance(60_000)
    assert.match(one.elector.problem() ?? '', /stands still/)
  })
})
