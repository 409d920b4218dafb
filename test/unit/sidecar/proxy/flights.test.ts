import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { Flights } from '../../../../sidecar/proxy/flights.ts'

interface Member {
  readonly name: string
  readonly patienceEndsAt: number
  ended: boolean
}
const member = (name: string, patienceEndsAt = 0): Member => ({ name, patienceEndsAt, ended: false })

suite('flights', () => {
  test('the first of a key leads, the others follow and are handed back with its answer', () => {
    const flights = new Flights<Member>(() => assert.fail('nobody else leads'))
    const [a, b, c, other] = [member('a'), member('b'), member('c'), member('other')]
    assert.equal(flights.join('k', a), true)
    assert.equal(flights.join('k', b), false)
    assert.equal(flights.join('k', c), false)
    assert.equal(flights.join('l', other), true)
    assert.equal(flights.leave(b, false), undefined)
    assert.deepEqual(flights.leave(a, true), { key: 'k', followers: [c] })
    assert.equal(flights.leave(c, true), undefined)
    assert.equal(flights.join('k', b), true)
  })

  test('thousands of followers that are refused one after the other do not overflow the stack', () => {
    const order: string[] = []
    const flights: Flights<Member> = new Flights((next) => {
      order.push(next.name)
      flights.leave(next, false)
    })
    const leader = member('leader')
    flights.join('k', leader)
    for (let index = 0; index < 20_000; index++) flights.join('k', member(String(index), index))
    flights.leave(leader, false)
    assert.equal(order.length, 20_000)
    assert.deepEqual(order.slice(0, 2), ['19999', '19998'])
    assert.equal(flights.size, 0)
  })

  test('whatever ends when: one leads as long as anybody waits, and nothing is left behind (500 runs)', () => {
    const step = fc.record({ key: fc.nat(2), index: fc.nat(20), answered: fc.boolean(), joins: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.func(fc.boolean()), (steps, refuses) => {
        const inside = new Map<Member, string>()
        const leading = new Set<Member>()
        const leave = (one: Member, answered: boolean): void => {
          inside.delete(one)
          leading.delete(one)
          for (const follower of flights.leave(one, answered)?.followers ?? []) leave(follower, true)
        }
        const flights: Flights<Member> = new Flights((one) => {
          assert.ok(inside.has(one), 'one that has left never leads')
          leading.add(one)
          if (refuses(one.name)) leave(one, false)
        })
        steps.forEach(({ key, index, answered, joins }, number) => {
          if (joins) {
            const one = member(String(number), index)
            inside.set(one, String(key))
            if (flights.join(String(key), one)) leading.add(one)
          } else {
            const one = [...inside.keys()][index]
            if (one !== undefined) leave(one, answered && leading.has(one))
          }
          const led = [...leading].map((one) => inside.get(one))
          assert.deepEqual(new Set(led), new Set(inside.values()), 'each key has a leader')
          assert.equal(led.length, new Set(led).size, 'and one only')
          assert.equal(flights.size, inside.size)
        })
      }),
      { numRuns: 500 },
    )
  })
})
