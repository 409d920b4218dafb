/** `grpc-kafka local` on a user's own folder, as the program that a user starts. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { credentials, loadPackageDefinition, status, type Client, type ServiceError } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { connect } from '../../../examples/calculator/client.ts'
import { freePort } from '../../../local/platform/free-port.ts'
import { startRedis } from '../../../local/platform/redis.ts'
import { atEnd } from '../support/clean-up.ts'

const root = join(import.meta.dirname, '..', '..', '..')
const example = join(root, 'examples', 'calculator')

type Overrides = { readonly handler?: string; readonly replicas?: number; readonly proxyPort?: number }

/** The calculator's folder as a user would have made it, with names of its own in Kafka. */
async function userFolder(context: TestContext, overrides: Overrides = {}): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-user-'))
  atEnd(context, () => rm(directory, { recursive: true, force: true }))
  const unique = `local-${Math.random().toString(36).slice(2)}`
  const text = await readFile(join(example, 'calculator.yaml'), 'utf8')
  const handler = overrides.handler ?? `[node, ${join(example, 'server.ts')}]`
  await writeFile(
    join(directory, 'resources.yaml'),
    text
      .replace('    name: calculator\n    partitions: 6', `    name: ${unique}\n    partitions: 2`)
      .replace('groupId: calculator', `groupId: ${unique}`)
      .replace('[node, server.ts]', handler)
      .replace('replicas: 1\n  handler', `replicas: ${overrides.replicas ?? 1}\n  handler`)
      .replace('port: 8080', `port: ${overrides.proxyPort ?? (await freePort())}`),
  )
  await writeFile(join(directory, 'calculator.proto'), await readFile(join(example, 'calculator.proto')))
  return directory
}

type LocalMode = {
  readonly process: ChildProcess
  readonly output: () => string
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>
  /** Resolves when the output holds the text; rejects when it ended without. */
  readonly says: (text: string | RegExp) => Promise<string>
}

function runLocal(context: TestContext, directory: string, environment: NodeJS.ProcessEnv = {}): LocalMode {
  const child = spawn(process.execPath, [join(root, 'local/bootstrap/bin.mjs'), 'local', '-f', directory], {
    // What a failed start keeps for a person to look at goes with the test's folder.
    env: { ...process.env, TMPDIR: directory, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const changed = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part
      for (const look of changed) look()
    })
  }
  atEnd(context, async () => {
    child.kill('SIGTERM')
    await ended
  })
  return {
    process: child,
    output: () => text,
    ended,
    says: (wanted) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const match = typeof wanted === 'string' ? text.includes(wanted) : wanted.exec(text)
          if (match === false || match === null) return
          changed.delete(look)
          resolve(match === true ? text : (match[1] ?? match[0]))
        }
        changed.add(look)
        look()
        void ended.then((code) => reject(new Error(`it ended with ${code} and never said ${String(wanted)}:\n${text}`)))
      }),
  }
}

const addressOf = (mode: LocalMode): Promise<string> => mode.says(/is served on (\S+)/)

test('a route of two workers answers, survives a killed handler, and stops in order', async (context) => {
  const mode = runLocal(context, await userFolder(context, { replicas: 2 }))
  const address = await addressOf(mode)
  const logs = await mode.says(/logs {7}(\S+)/)
  const calculator = connect(address)
  atEnd(context, () => calculator.close())

  const reply = await calculator.calculate({ name: 'me', method: 'multiply', num1: 6, num2: 7 }, 20_000)
  assert.equal(reply.result, 42)
  assert.match(reply.message, /^me: 6 multiply 7 is 42 \(127\.0\.0\.1:\d+\)$/)
  await assert.rejects(
    calculator.calculate({ name: 'me', method: 'power', num1: 6, num2: 7 }, 20_000),
    (error: ServiceError) => error.code === status.INVALID_ARGUMENT && error.details.includes('"power"'),
  )

  const handlers = await handlersOf(mode)
  assert.equal(handlers.length, 2)
  for (const pid of handlers) process.kill(pid, 'SIGKILL')
  await mode.says('calculator-handler-0: ended with SIGKILL, starting it again')
  assert.equal((await calculator.calculate({ name: 'me', method: 'add', num1: 1, num2: 2 }, 20_000)).result, 3)

  const started = performance.now()
  mode.process.kill('SIGINT')
  mode.process.kill('SIGINT')
  assert.equal(await mode.ended, 0, mode.output())
  assert.ok(performance.now() - started < 15_000, 'an idle route stops at once')
  await assert.rejects(readdir(logs), 'the run’s folder is removed')
})

test('reflection tells the service of the proto that lies in the folder', async (context) => {
  const mode = runLocal(context, await userFolder(context))
  const names = await reflectedServices(await addressOf(mode))
  assert.ok(names.includes('calculator.CalculateService'), names.join())
})

test('a Redis password is in no file and no output', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-redis-'))
  atEnd(context, () => rm(directory, { recursive: true, force: true }))
  const redis = await startRedis({ directory, report: () => undefined })
  atEnd(context, () => redis.stop())
  const client = new Redis(redis.url)
  await client.config('SET', 'requirepass', 'hunter2-secret')
  client.disconnect()

  const url = redis.url.replace('redis://', 'redis://:hunter2-secret@')
  const mode = runLocal(context, await userFolder(context), { REDIS_URL: url })
  const address = await addressOf(mode)
  const calculator = connect(address)
  atEnd(context, () => calculator.close())
  assert.equal((await calculator.calculate({ name: 'me', method: '+', num1: 1, num2: 2 }, 20_000)).result, 3)
  const logs = await mode.says(/logs {7}(\S+)/)
  const files = (await readdir(logs)).filter((name) => /\.(json|log)$/.test(name))
  assert.ok(files.length >= 4, files.join())
  for (const file of files) assert.doesNotMatch(await readFile(join(logs, file), 'utf8'), /hunter2/, file)
  assert.doesNotMatch(mode.output(), /hunter2/)
})

test('a handler that does not stay up ends the start with its last words', async (context) => {
  const mode = runLocal(context, await userFolder(context, { handler: `[node, -e, 'throw new Error("no database")']` }))
  assert.equal(await mode.ended, 1)
  assert.match(mode.output(), /calculator-handler-0: "node -e .*" ended 3 times, last with exit code 1/)
  assert.match(mode.output(), /\[calculator-handler-0\] .*no database/)
})

test('a handler whose program is not there ends the start', async (context) => {
  const mode = runLocal(context, await userFolder(context, { handler: '[no-such-program]' }))
  assert.equal(await mode.ended, 1)
  assert.match(mode.output(), /calculator-handler-0: the program "no-such-program" is not on PATH/)
})

test('a port that is taken is an error before anything is started', async (context) => {
  const directory = await userFolder(context)
  const first = runLocal(context, directory)
  const [, port = ''] = (await addressOf(first)).split(':')
  const second = runLocal(context, directory)
  assert.equal(await second.ended, 1)
  assert.equal(
    second.output(),
    `port ${port} of proxy 0 of CalculateService calculator is in use by another program: stop that one, change spec.proxy.port, or give --port\n`,
  )
})

/** The processes of the example's server among those that local mode started. */
async function handlersOf(mode: LocalMode): Promise<readonly number[]> {
  const children = async (pid: number): Promise<readonly number[]> => {
    const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
    return text.trim() === '' ? [] : text.trim().split(' ').map(Number)
  }
  const below = async (pid: number): Promise<readonly number[]> => {
    const direct = await children(pid)
    return [...direct, ...(await Promise.all(direct.map(below))).flat()]
  }
  const found: number[] = []
  for (const pid of await below(mode.process.pid ?? 0)) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (line.includes('examples/calculator/server.ts')) found.push(pid)
  }
  return found
}

const REFLECTION = `syntax = "proto3"; package grpc.reflection.v1;
service ServerReflection { rpc ServerReflectionInfo(stream Request) returns (stream Response); }
message Request { oneof message_request { string list_services = 7; } }
message Response { oneof message_response { ListServiceResponse list_services_response = 6; } }
message ListServiceResponse { repeated ServiceResponse service = 1; }
message ServiceResponse { string name = 1; }`

/** The names that a server's reflection lists. */
async function reflectedServices(address: string): Promise<readonly string[]> {
  const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-reflection-'))
  await writeFile(join(directory, 'reflection.proto'), REFLECTION)
  const loaded = loadPackageDefinition(loadSync(join(directory, 'reflection.proto')))
  await rm(directory, { recursive: true })
  const { ServerReflection } = (loaded['grpc'] as unknown as ReflectionPackage).reflection.v1
  const client = new ServerReflection(address, credentials.createInsecure())
  try {
    const stream = client.serverReflectionInfo()
    const answer = once(stream, 'data') as Promise<[ReflectionResponse]>
    stream.write({ listServices: '' })
    const [{ listServicesResponse }] = await answer
    stream.end()
    return listServicesResponse.service.map(({ name }) => name)
  } finally {
    client.close()
  }
}

type ReflectionResponse = { readonly listServicesResponse: { readonly service: readonly { readonly name: string }[] } }
type ReflectionStream = NodeJS.EventEmitter & { write(request: object): void; end(): void }
type ReflectionPackage = {
  readonly reflection: {
    readonly v1: {
      readonly ServerReflection: new (
        address: string,
        channel: ReturnType<typeof credentials.createInsecure>,
      ) => Client & { serverReflectionInfo(): ReflectionStream }
    }
  }
}
