import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { ConfigWatcher } from '../../../sidecar/config-watcher.ts'
import { loadConfig } from '../../../sidecar/config.ts'
import type { SidecarConfig } from '../../../sidecar/config.ts'
import { LiveConfig } from '../../../sidecar/live-config.ts'
import { createLogger } from '../../../sidecar/telemetry/log.ts'
import type { Logger } from '../../../sidecar/telemetry/log.ts'
import { Metrics } from '../../../sidecar/telemetry/metrics.ts'

const base = {
  role: 'worker',
  instance: 'w-1',
  service: { name: 'calc.Calculator', topic: 'calc' },
  kafka: { brokers: ['kafka:9092'] },
  redis: { url: 'redis://redis:6379' },
  admin: { port: 9090 },
  worker: { groupId: 'g', handler: { port: 50051 }, methods: [{ name: 'Calculate' }], concurrency: 1 },
}
const withConcurrency = (concurrency: number) => JSON.stringify({ ...base, worker: { ...base.worker, concurrency } })

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not in time: ${what}`)
    await pause(10)
  }
}

/** A volume as the kubelet makes it: the files are links into `..data`, a link that is swapped. */
class Volume {
  readonly directory: string
  #versions = 0

  constructor(t: TestContext, files: Readonly<Record<string, string>>) {
    this.directory = mkdtempSync(join(tmpdir(), 'watch-'))
    t.after(() => rmSync(this.directory, { recursive: true }))
    this.swap(files)
    for (const name of Object.keys(files)) symlinkSync(join('..data', name), this.path(name))
  }

  path(name: string): string {
    return join(this.directory, name)
  }

  swap(files: Readonly<Record<string, string>>): void {
    const version = `..version-${this.#versions++}`
    mkdirSync(this.path(version))
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.directory, version, name), text)
    symlinkSync(version, this.path('..data_tmp'))
    renameSync(this.path('..data_tmp'), this.path('..data'))
  }
}

function watch(t: TestContext, file: string) {
  const live = new LiveConfig<SidecarConfig>(loadConfig(file, {}))
  const metrics = new Metrics()
  const refusals: (readonly string[])[] = []
  const logger: Logger = createLogger('silent', {})
  logger.error = (fields: unknown) => void refusals.push((fields as { problems: readonly string[] }).problems)
  const watcher = new ConfigWatcher({ file, environment: {}, live, logger, metrics })
  t.after(() => watcher.close())
  watcher.start()
  const reloads = async () => {
    const text = await metrics.expose()
    const value = (series: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(series))
          ?.split(' ')[1],
      )
    return {
      applied: value('grpc_kafka_config_reloads_total{result="applied"}'),
      refused: value('grpc_kafka_config_reloads_total{result="refused"}'),
      successful: value('grpc_kafka_config_last_reload_successful'),
    }
  }
  const concurrency = () => (live.current.role === 'worker' ? live.current.worker.concurrency : undefined)
  return { live, watcher, refusals, reloads, concurrency }
}

suite('ConfigWatcher', () => {
  test('finds a configuration whose volume was swapped', async (t) => {
    const volume = new Volume(t, { 'config.json': withConcurrency(1) })
    const { concurrency, reloads } = watch(t, volume.path('config.json'))
    volume.swap({ 'config.json': withConcurrency(2) })
    await until('the change is applied', () => concurrency() === 2)
    assert.deepEqual(await reloads(), { applied: 1, refused: 0, successful: 1 })
  })

  test('sees a secret whose volume was swapped, though the configuration is as it was', async (t) => {
    const secrets = new Volume(t, { url: 'redis://:old@redis:6379' })
    const text = (concurrency: number) =>
      JSON.stringify({
        ...base,
        redis: { url: { file: secrets.path('url') } },
        worker: { ...base.worker, concurrency },
      })
    const volume = new Volume(t, { 'config.json': text(1) })
    const { refusals, reloads } = watch(t, volume.path('config.json'))
    volume.swap({ 'config.json': text(2) })
    await until('the watcher looks', async () => (await reloads()).applied === 1)
    secrets.swap({ url: 'redis://:new@redis:6379' })
    // Connections that are made from now on read it.
    await until('it is seen', async () => (await reloads()).applied === 2)
    assert.deepEqual(refusals, [])
  })

  test('refuses another place of a secret: the connections that there are read the earlier one', async (t) => {
    const secrets = new Volume(t, { one: 'redis://:a@redis:6379', other: 'redis://:b@redis:6379' })
    const text = (name: string) => JSON.stringify({ ...base, redis: { url: { file: secrets.path(name) } } })
    const volume = new Volume(t, { 'config.json': text('one') })
    const { refusals, reloads } = watch(t, volume.path('config.json'))
    volume.swap({ 'config.json': text('other') })
    await until('it is seen', () => refusals.length === 1)
    assert.deepEqual(refusals[0], ['redis.url: cannot change while the sidecar runs; it needs a restart'])
    assert.deepEqual(await reloads(), { applied: 0, refused: 1, successful: 0 })
  })

  test('refuses a change as a whole, with every reason, keeps the earlier one, and recovers', async (t) => {
    const volume = new Volume(t, { 'config.json': withConcurrency(1) })
    const { concurrency, refusals, reloads } = watch(t, volume.path('config.json'))
    const bad = { ...base, colour: 'red', worker: { ...base.worker, concurrency: 0, timeoutMilliseconds: 'long' } }
    volume.swap({ 'config.json': JSON.stringify(bad) })
    await until('it is refused', () => refusals.length === 1)
    assert.deepEqual(refusals[0]?.map((line) => line.slice(0, line.indexOf(':'))).sort(), [
      'colour',
      'worker.concurrency',
      'worker.timeoutMilliseconds',
    ])
    assert.equal(concurrency(), 1)
    assert.deepEqual(await reloads(), { applied: 0, refused: 1, successful: 0 })
    volume.swap({ 'config.json': withConcurrency(3) })
    await until('the good one is applied', () => concurrency() === 3)
    assert.deepEqual(await reloads(), { applied: 1, refused: 1, successful: 1 })
  })

  test('refuses a hot setting that comes with others that need a restart, and names these', async (t) => {
    const volume = new Volume(t, { 'config.json': withConcurrency(1) })
    const { concurrency, refusals } = watch(t, volume.path('config.json'))
    const worker = { ...base.worker, concurrency: 2, groupId: 'other' }
    volume.swap({ 'config.json': JSON.stringify({ ...base, admin: { port: 1 }, worker }) })
    await until('it is refused', () => refusals.length === 1)
    assert.deepEqual(
      refusals[0]?.map((line) => line.slice(0, line.indexOf(':'))),
      ['admin.port', 'worker.groupId'],
    )
    assert.equal(concurrency(), 1)
  })

  test('tells of a change that stays refused once, and again when it is asked to look', async (t) => {
    const volume = new Volume(t, { 'config.json': withConcurrency(1) })
    const { watcher, refusals } = watch(t, volume.path('config.json'))
    volume.swap({ 'config.json': withConcurrency(0) })
    await until('it is refused', () => refusals.length === 1)
    // Longer than it takes to look twice: a third look would have told it again.
    await pause(2500)
    assert.equal(refusals.length, 1)
    watcher.lookNow()
    await until('it is told again', () => refusals.length === 2)
  })

  test('a file that is half written or away is refused until it is whole', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'watch-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const file = join(directory, 'config.json')
    writeFileSync(file, withConcurrency(1))
    const { watcher, concurrency, refusals } = watch(t, file)
    const whole = withConcurrency(2)
    for (const [what, write] of [
      ['half of it', () => writeFileSync(file, whole.slice(0, whole.length / 2))],
      ['nothing', () => writeFileSync(file, '')],
      ['all but the last byte', () => writeFileSync(file, whole.slice(0, -1))],
      ['no file', () => rmSync(file)],
    ] as const) {
      const before = refusals.length
      write()
      watcher.lookNow()
      await until(`${what} is refused`, () => refusals.length > before)
      assert.equal(concurrency(), 1, what)
    }
    writeFileSync(file, whole)
    watcher.lookNow()
    await until('the whole file is applied', () => concurrency() === 2)
  })

  test('a secret that is empty is refused: its file was about to be written', async (t) => {
    const secrets = new Volume(t, { url: 'redis://:old@redis:6379' })
    const text = JSON.stringify({ ...base, redis: { url: { file: secrets.path('url') } } })
    const volume = new Volume(t, { 'config.json': text })
    const { watcher, refusals } = watch(t, volume.path('config.json'))
    secrets.swap({ url: '\n' })
    watcher.lookNow()
    await until('it is refused', () => refusals.length > 0)
    assert.match(refusals[0]?.[0] ?? '', /^redis\.url\.file: .* is empty$/)
  })
})
