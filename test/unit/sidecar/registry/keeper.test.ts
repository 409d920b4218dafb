/** A replica at its Consul agent, with an agent that does what the test says and a clock that stands still. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import type { ConsulRegistrationConfig } from '../../../../sidecar/config.ts'
import { AgentProblem } from '../../../../sidecar/registry/consul-agent.ts'
import type {
  AgentAccess,
  AgentProblemReason,
  AgentService,
  CheckResult,
  ConsulAgent,
} from '../../../../sidecar/registry/consul-agent.ts'
import { ConsulKeeper } from '../../../../sidecar/registry/keeper.ts'
import { Secret } from '../../../../sidecar/secret.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { FakeClock, settle } from '../../operator/controller/fake-clock.ts'

type Step = 'register' | 'update' | 'deregister'
/** Hang: the agent never answers. Late: it does what it is told, and its answer comes when the test says. */
type Behaviour = AgentProblemReason | 'Hang' | 'LostAnswer' | 'Late'

/** Has what a real one would have; takes tokens as they come. */
class FakeAgent implements ConsulAgent {
  /** `name status` of what it has. */
  has: string | undefined
  readonly asked: string[] = []
  readonly tokens: (string | undefined)[] = []
  readonly behaves = new Map<Step, Behaviour>()
  #answer = (): void => undefined

  register(access: AgentAccess, { name }: AgentService, { status }: CheckResult, signal: AbortSignal): Promise<void> {
    return this.#do('register', `${name} ${status}`, access, signal, () => (this.has = `${name} ${status}`))
  }

  update(access: AgentAccess, _id: string, { status, output }: CheckResult, signal: AbortSignal): Promise<void> {
    return this.#do('update', `${status} (${output})`, access, signal, () => {
      if (this.has === undefined) throw new AgentProblem('Unknown', 'Unknown check ID')
      this.has = `${this.has.split(' ')[0]} ${status}`
    })
  }

  deregister(access: AgentAccess, _id: string, signal: AbortSignal): Promise<void> {
    return this.#do('deregister', '', access, signal, () => (this.has = undefined))
  }

  /** Answers what it was slow with. */
  answer(): void {
    this.#answer()
  }

  async #do(step: Step, what: string, { token }: AgentAccess, signal: AbortSignal, work: () => unknown): Promise<void> {
    this.asked.push(`${step} ${what}`.trim())
    this.tokens.push(token)
    const behaviour = this.behaves.get(step)
    if (behaviour === undefined) {
      work()
      return
    }
    if (behaviour === 'LostAnswer') work()
    if (behaviour === 'Hang' || behaviour === 'Late' || behaviour === 'LostAnswer') {
      await new Promise<void>((resolve, reject) => {
        this.#answer = resolve
        signal.addEventListener('abort', () => reject(signal.reason as Error))
      })
      work()
      return
    }
    throw new AgentProblem(behaviour, `it says ${behaviour}`)
  }
}

class World {
  readonly agent = new FakeAgent()
  readonly clock = new FakeClock()
  readonly lines: string[] = []
  readonly metrics = new Metrics()
  readonly files = new Map([['token', 'one\n']])
  ready = true
  config: ConsulRegistrationConfig = {
    address: 'http://agent:8500',
    name: 'calc',
    tags: [],
    meta: {},
    ttlSeconds: 15,
    intervalSeconds: 5,
    advertise: { host: '10.0.0.1', port: 7000 },
    token: new Secret({ file: 'token' }, {}, (file) => {
      const text = this.files.get(file)
      if (text === undefined) throw Object.assign(new Error('gone'), { code: 'ENOENT' })
      return text
    }),
  }
  readonly keeper = new ConsulKeeper({
    agent: this.agent,
    config: () => this.config,
    id: 'calc-1',
    ready: () => ({ ready: this.ready, reason: this.ready ? '' : 'Redis is away' }),
    monotonicNow: this.clock.monotonic,
    after: this.clock.after,
    logger: pino({}, { write: (line: string) => void this.lines.push((JSON.parse(line) as { msg: string }).msg) }),
    metrics: this.metrics,
  })

  async pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 250) {
      this.clock.advance(250)
      await settle()
    }
  }

  /** What the agent was asked since it was asked this last. */
  asked(): readonly string[] {
    return this.agent.asked.splice(0)
  }

  async metric(name: string): Promise<string | undefined> {
    const text = await this.metrics.expose()
    return text.split('\n').find((line) => line.startsWith(name))
  }
}

/** Registered, with nothing under way. */
async function registered(): Promise<World> {
  const world = new World()
  world.keeper.start()
  await settle()
  assert.equal(world.agent.has, 'calc passing')
  world.asked()
  return world
}

const TROUBLE = 'the Consul agent does not take what it is told; it is tried again'

test('it is registered when it is ready first, and not before', async () => {
  const world = new World()
  world.ready = false
  world.keeper.start()
  await world.pass(60_000)
  assert.deepEqual(world.asked(), [])
  world.ready = true
  await world.pass(500)
  assert.deepEqual(world.asked(), ['register calc passing'])
  assert.equal(await world.metric('grpc_kafka_registered '), 'grpc_kafka_registered 1')
})

test('it says each interval that it is ready', async () => {
  const world = await registered()
  await world.pass(15_000)
  assert.deepEqual(
    world.asked(),
    Array.from({ length: 3 }, () => 'update passing (ready)'),
  )
})

test('when it is ready no more it says so at once, with the reason, and when it is again', async () => {
  const world = await registered()
  world.ready = false
  await world.pass(500)
  assert.deepEqual(world.asked(), ['update critical (Redis is away)'])
  await world.pass(5_000)
  assert.deepEqual(world.asked(), ['update critical (Redis is away)'])
  world.ready = true
  await world.pass(500)
  assert.deepEqual(world.asked(), ['update passing (ready)'])
})

test('an agent that forgot it gets it again, as it is then', async () => {
  const world = await registered()
  world.agent.has = undefined
  world.ready = false
  await world.pass(500)
  assert.deepEqual(world.asked(), ['update critical (Redis is away)', 'register calc critical'])
  assert.equal(world.agent.has, 'calc critical')
})

test('one renewal that is lost is said again before the TTL', async () => {
  const world = await registered()
  world.agent.behaves.set('update', 'Hang')
  await world.pass(10_000)
  world.agent.behaves.delete('update')
  world.asked()
  await world.pass(1_750)
  assert.deepEqual(world.asked(), ['update passing (ready)'])
})

test('an agent that is away is told of once, in the log and the metrics, and found again', async () => {
  const world = await registered()
  world.agent.behaves.set('update', 'Unavailable')
  await world.pass(60_000)
  assert.equal(world.lines.filter((line) => line === TROUBLE).length, 1)
  assert.equal(await world.metric('grpc_kafka_registered '), 'grpc_kafka_registered 0')
  assert.match((await world.metric('grpc_kafka_registration_errors_total{reason="Unavailable"}')) ?? '', / [1-9]/)
  world.agent.behaves.delete('update')
  await world.pass(2_000)
  assert.equal(await world.metric('grpc_kafka_registered '), 'grpc_kafka_registered 1')
  assert.equal(world.lines.at(-1), 'the Consul agent takes what it is told again')
})

test('a wrong token is told, and the right one is used when its file has it', async () => {
  const world = new World()
  world.agent.behaves.set('register', 'NotAuthorized')
  world.keeper.start()
  await world.pass(10_000)
  assert.equal(world.lines.filter((line) => line === TROUBLE).length, 1)
  world.files.set('token', 'two')
  world.agent.behaves.clear()
  await world.pass(2_000)
  assert.equal(world.agent.has, 'calc passing')
  assert.equal(world.agent.tokens.at(-1), 'two')
})

test('with another token it is registered anew: the agent tells the servers with that of the registration', async () => {
  const world = await registered()
  world.files.set('token', 'two')
  await world.pass(5_000)
  assert.deepEqual(world.asked(), ['register calc passing'])
  await world.pass(5_000)
  assert.deepEqual(world.asked(), ['update passing (ready)'])
})

test('a token whose file is gone for a while is trouble like any other', async () => {
  const world = await registered()
  world.files.delete('token')
  await world.pass(10_000)
  assert.deepEqual(world.asked(), [])
  assert.equal(world.lines.at(-1), TROUBLE)
  assert.match((await world.metric('grpc_kafka_registration_errors_total{reason="NotAuthorized"}')) ?? '', / [1-9]/)
  world.files.set('token', 'one')
  await world.pass(5_000)
  assert.ok(world.asked().length > 0)
})

test('what is said of it may change while it runs', async () => {
  const world = await registered()
  world.config = { ...world.config, tags: ['blue'] }
  await world.pass(5_000)
  assert.deepEqual(world.asked(), ['register calc passing'])
})

test('one that leaves is deregistered, and never registered again', async () => {
  const world = await registered()
  await world.keeper.leave()
  assert.deepEqual(world.asked(), ['deregister'])
  await world.pass(60_000)
  await world.keeper.end()
  assert.deepEqual(world.asked(), [])
  assert.equal(world.agent.has, undefined)
})

test('one that was never ready leaves without a word', async () => {
  const world = new World()
  world.ready = false
  world.keeper.start()
  await world.keeper.leave()
  await world.keeper.end()
  assert.deepEqual(world.asked(), [])
})

test('an agent that forgot it and says so while it leaves does not get it again', async () => {
  const world = await registered()
  world.agent.has = undefined
  world.agent.behaves.set('update', 'Late')
  await world.pass(5_000)
  assert.deepEqual(world.asked(), ['update passing (ready)'])
  const left = world.keeper.leave()
  world.agent.answer()
  await left
  await world.pass(60_000)
  assert.deepEqual(world.asked(), ['deregister'])
})

test('a registration that is on its way when it leaves comes before the deregistration', async () => {
  const world = new World()
  world.agent.behaves.set('register', 'Late')
  world.keeper.start()
  await settle()
  const left = world.keeper.leave()
  await settle()
  assert.deepEqual(world.asked(), ['register calc passing'])
  world.agent.answer()
  await left
  assert.deepEqual(world.asked(), ['deregister'])
  assert.equal(world.agent.has, undefined)
})

test('a registration of which nobody heard is taken away again at the end of the drain', async () => {
  const world = new World()
  world.agent.behaves.set('register', 'Hang')
  world.keeper.start()
  await settle()
  const left = world.keeper.leave()
  await world.pass(1_000)
  await left
  // The agent comes to it only now.
  world.agent.has = 'calc passing'
  await world.keeper.end()
  assert.deepEqual(world.asked(), ['register calc passing', 'deregister', 'deregister'])
  assert.equal(world.agent.has, undefined)
})

test('one whose registration was taken and whose answer was lost is deregistered', async () => {
  const world = new World()
  world.agent.behaves.set('register', 'LostAnswer')
  world.keeper.start()
  await world.pass(5_250)
  world.agent.behaves.set('register', 'Unavailable')
  assert.equal(world.agent.has, 'calc passing')
  await world.keeper.leave()
  assert.equal(world.agent.has, undefined)
})

test('with an agent that hangs it leaves within two seconds, and its end takes one', async () => {
  const world = await registered()
  world.agent.behaves.set('deregister', 'Hang')
  let isLeft = false
  const left = world.keeper.leave().then(() => (isLeft = true))
  await world.pass(1_750)
  assert.equal(isLeft, false)
  await world.pass(250)
  await left
  let isEnded = false
  const ended = world.keeper.end().then(() => (isEnded = true))
  await world.pass(750)
  assert.equal(isEnded, false)
  await world.pass(250)
  await ended
  assert.deepEqual(world.asked(), ['deregister', 'deregister'])
})

test('an agent that comes back during the drain is told at its end', async () => {
  const world = await registered()
  world.agent.behaves.set('deregister', 'Unavailable')
  await world.keeper.leave()
  assert.equal(world.agent.has, 'calc passing')
  world.agent.behaves.clear()
  await world.keeper.end()
  assert.equal(world.agent.has, undefined)
})

test('nothing is left to wait for when it has left', async () => {
  const world = await registered()
  await world.keeper.leave()
  await world.keeper.end()
  assert.equal(world.clock.pending, 0)
})
