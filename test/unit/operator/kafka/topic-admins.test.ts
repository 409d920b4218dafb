import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KafkaAccess } from '../../../../operator/kafka/kafka-access.ts'
import { TopicAdmins } from '../../../../operator/kafka/topic-admins.ts'
import { FakeClock } from '../controller/fake-clock.ts'
import { KafkaProblem, problemOf } from '../../../../operator/kafka/kafka-problem.ts'
import { FakeKafka, unavailable } from '../fake-kafka.ts'

const IDLE = 300_000
const HERE = { servers: ['kafka:9092'] }
const THERE = { servers: ['kafka:9092'], sasl: { mechanism: 'PLAIN', username: 'u', password: 'p' } } as const

class Counted extends FakeKafka {
  closed = 0
  override async close(): Promise<void> {
    this.closed += 1
  }
}

function pool() {
  const clock = new FakeClock()
  const made: Counted[] = []
  const admins = new TopicAdmins(clock, () => {
    const admin = new Counted()
    made.push(admin)
    return admin
  })
  return { clock, made, admins }
}

test('who says the same shares a client, and another password is another one', async () => {
  const { made, admins } = pool()
  const one = await admins.use(HERE, async (admin) => admin)
  assert.equal(await admins.use({ ...HERE }, async (admin) => admin), one)
  assert.notEqual(await admins.use(THERE, async (admin) => admin), one)
  const rotated = { ...THERE, sasl: { ...THERE.sasl, password: 'other' } }
  await admins.use(rotated, async () => undefined)
  assert.equal(made.length, 3)
})

test('a client that nobody asks for five minutes is closed, and another one is not', async () => {
  const { clock, made, admins } = pool()
  await admins.use(HERE, async () => undefined)
  clock.advance(IDLE - 1)
  await admins.use(THERE, async () => undefined)
  clock.advance(1)
  assert.deepEqual(
    made.map(({ closed }) => closed),
    [1, 0],
  )
  clock.advance(2 * IDLE)
  assert.equal(admins.size, 0)
})

test('a client in use is not closed, however long that takes', async () => {
  const { clock, made, admins } = pool()
  let end: () => void = () => undefined
  const work = admins.use(HERE, () => new Promise<void>((resolve) => (end = resolve)))
  await admins.use(HERE, async () => undefined)
  clock.advance(3 * IDLE)
  assert.equal(made[0]?.closed, 0)
  end()
  await work
  clock.advance(2 * IDLE)
  assert.equal(made[0]?.closed, 1)
})

test('a failure leaves the client usable, and the end closes all', async () => {
  const { made, admins } = pool()
  await assert.rejects(
    admins.use(HERE, async () => {
      throw new Error('no')
    }),
  )
  await admins.use(HERE, async () => undefined)
  await admins.close()
  assert.deepEqual(
    made.map(({ closed }) => closed),
    [1],
  )
})

const asked = async (admins: TopicAdmins, access: KafkaAccess = HERE): Promise<boolean> => {
  let reached = false
  await admins
    .use(access, async () => {
      reached = true
      throw unavailable
    })
    .catch((error: unknown) => assert.equal(error, unavailable))
  return reached
}

test('a Kafka that is away is asked by one after a pause, and the others are told at once', async () => {
  const { clock, admins } = pool()
  assert.equal(await asked(admins), true)
  assert.equal(await asked(admins), false)
  clock.advance(4_999)
  assert.equal(await asked(admins), false)
  assert.equal(await asked(admins, { servers: ['other:9092'] }), true)
  clock.advance(1)
  const fails = Promise.withResolvers<void>()
  const probe = admins.use(HERE, () => fails.promise)
  assert.equal(await asked(admins), false)
  fails.reject(unavailable)
  await assert.rejects(probe)
  assert.equal(await asked(admins), false)
  clock.advance(10_000)
  await admins.use(HERE, async () => undefined)
  assert.equal(await asked(admins), true)
})

test('a Kafka that stays away is asked after pauses that double up to a minute, and anew from five seconds', async () => {
  const { clock, admins } = pool()
  for (const pause of [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]) {
    assert.equal(await asked(admins), true)
    clock.advance(pause - 1)
    assert.equal(await asked(admins), false, `before ${pause} ms`)
    clock.advance(1)
  }
  await admins.use(HERE, async () => undefined)
  assert.equal(await asked(admins), true)
  clock.advance(5_000)
  assert.equal(await asked(admins), true)
})

test('several who find out at once that Kafka is away make one pause', async () => {
  const { clock, admins } = pool()
  assert.deepEqual(await Promise.all([asked(admins), asked(admins), asked(admins)]), [true, true, true])
  clock.advance(5_000)
  assert.equal(await asked(admins), true)
})

test('servers that cannot be reached are away for all who name them, in any order and with any password', async () => {
  const { clock, made, admins } = pool()
  assert.equal(await asked(admins, { servers: ['a:9092', 'b:9092'] }), true)
  const other = { servers: ['b:9092', 'a:9092'], sasl: THERE.sasl }
  assert.equal(await asked(admins, other), false)
  clock.advance(5_000)
  await admins.use(other, async () => undefined)
  assert.equal(await asked(admins, { servers: ['a:9092', 'b:9092'] }), true)
  assert.equal(made.length, 2)
})

test('one whose connections get no answer keeps nobody away who connects in another way', async () => {
  const { admins } = pool()
  const silent = new KafkaProblem('KafkaUnavailable', 'not trusted', { noAnswer: 'Silent' })
  await assert.rejects(
    admins.use(HERE, () => Promise.reject(silent)),
    silent,
  )
  await assert.rejects(
    admins.use(HERE, async () => undefined),
    silent,
  )
  assert.equal(await admins.use(THERE, async () => 'asked'), 'asked')
})

test('what is given up before anything was tried says nothing about Kafka', async () => {
  const { clock, admins } = pool()
  assert.equal(await asked(admins), true)
  clock.advance(5_000)
  const notAsked = new KafkaProblem('KafkaNotAuthorized', 'no certificate', { noAnswer: 'NotAsked' })
  await assert.rejects(admins.use(THERE, () => Promise.reject(notAsked)))
  assert.equal(await asked(admins), true)
  clock.advance(9_999)
  assert.equal(await asked(admins), false)
})

test('a Kafka that refuses is not away', async () => {
  const { admins } = pool()
  const refusal = new KafkaProblem('KafkaNotAuthorized', 'no')
  await assert.rejects(admins.use(HERE, () => Promise.reject(refusal)))
  assert.equal(await asked(admins), true)
})

for (const { name, answer } of [
  { name: 'throttles', answer: problemOf('creating topic theirs', 89, null) },
  {
    name: 'has no leader for a topic yet',
    answer: new KafkaProblem('KafkaUnavailable', 'topic theirs: no leader yet'),
  },
]) {
  test(`a Kafka that ${name} says so to who asked, and not to the others`, async () => {
    const { admins } = pool()
    await assert.rejects(
      admins.use(HERE, () => Promise.reject(answer)),
      answer,
    )
    assert.equal(await admins.use(HERE, async () => 'asked'), 'asked')
  })
}
