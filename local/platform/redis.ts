/** A Redis of one's own, with its data in one folder. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { findOnPath } from '../bootstrap/which.mjs'
import { describeExit, startChild, tail, type Child } from '../child.ts'
import { reportToTerminal, type Report } from '../report.ts'
import { cached } from './cache.ts'
import { hasApt, unpackPackages } from './debian.ts'
import { freePort } from './free-port.ts'
import { PartFailedError } from './part-failed.ts'
import { PartMissingError } from './part-missing.ts'

const START_MILLISECONDS = 30_000

export type RedisOptions = {
  /** Data and log go here; made when it is not there. */
  readonly directory: string
  /** Chosen when not given. */
  readonly port?: number
  /** Added to the command line, e.g. `['--appendonly', 'yes']`. */
  readonly args?: readonly string[]
  readonly report?: Report
}

export type RedisServer = {
  /** `redis://127.0.0.1:port` */
  readonly url: string
  /** Of the process that runs, or ran last. */
  readonly pid: number
  /** Resolves when the process that runs now has ended, whoever ended it. */
  readonly exited: Promise<unknown>
  /** Sends a signal and, where it ends the process, waits for the end. */
  kill(signal: NodeJS.Signals): Promise<void>
  /** Starts it again on the same port and folder, after `kill` or `stop`; resolves when it answers. */
  start(signal?: AbortSignal): Promise<void>
  /** Ends it in order. May be called twice. */
  stop(): Promise<void>
}

/**
 * Finds or fetches redis-server, starts it and waits until it answers PING.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws PartMissingError when it cannot be had, PartFailedError with the end of its log when it does not come up
 */
export async function startRedis(options: RedisOptions, signal?: AbortSignal): Promise<RedisServer> {
  const { directory, report = reportToTerminal } = options
  const program = await ensureRedis(report, signal)
  const port = options.port ?? (await freePort())
  const url = `redis://127.0.0.1:${port}`
  const logFile = join(directory, 'redis.log')
  await mkdir(directory, { recursive: true })

  const launch = async (given?: AbortSignal): Promise<Child> => {
    const child = await startChild({
      name: 'Redis',
      command: program.file,
      args: [
        `--port ${port} --bind 127.0.0.1 --daemonize no --appendonly no`.split(' '),
        ['--dir', directory, '--save', ''],
        options.args ?? [],
      ].flat(),
      directory,
      environment: { ...process.env, ...program.environment },
      output: { file: logFile },
    })
    const ended = new AbortController()
    void child.exited.then(() => ended.abort())
    const late = AbortSignal.timeout(START_MILLISECONDS)
    try {
      await untilRedisAnswers(url, AbortSignal.any([ended.signal, late, ...(given ? [given] : [])]))
      return child
    } catch (cause) {
      const exit = child.exit
      await child.stop(0)
      if (given?.aborted) throw given.reason
      const log = await tail(logFile, 20)
      if (exit) throw new PartFailedError('Redis', `it ended with ${describeExit(exit)} while starting`, log, { cause })
      throw new PartFailedError(
        'Redis',
        `it did not answer on port ${port} within ${START_MILLISECONDS / 1000} s`,
        log,
        { cause },
      )
    }
  }

  let child = await launch(signal)
  return {
    url,
    get pid() {
      return child.pid
    },
    get exited() {
      return child.exited
    },
    kill: async (name) => {
      child.kill(name)
      if (name === 'SIGKILL' || name === 'SIGTERM' || name === 'SIGINT') await child.exited
    },
    start: async (given) => {
      if (!child.exit) throw new PartFailedError('Redis', 'it runs already', '')
      child = await launch(given)
    },
    stop: async () => {
      await child.stop(10_000)
    },
  }
}

/**
 * Asks until Redis answers PING.
 * @param signal  ends the asking; its reason is thrown
 */
export async function untilRedisAnswers(url: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const client = new Redis(url, { lazyConnect: true, maxRetriesPerRequest: null, retryStrategy: () => 50 })
  client.on('error', () => {
    // Not yet: the client tries again by itself, and a PING that waits is sent once it is connected.
  })
  let giveUp = (): void => undefined
  try {
    await Promise.race([
      client.ping(),
      new Promise<never>((_resolve, reject) => {
        giveUp = () => reject(signal.reason as Error)
        signal.addEventListener('abort', giveUp, { once: true })
      }),
    ])
  } finally {
    signal.removeEventListener('abort', giveUp)
    client.disconnect()
  }
}

type Program = { readonly file: string; readonly environment: Readonly<Record<string, string>> }

/** Debian's redis-server where it is not installed is only unpacked: installing it would start a service on port 6379. */
async function ensureRedis(report: Report, signal?: AbortSignal): Promise<Program> {
  const found = findOnPath('redis-server')
  if (found !== undefined) return { file: found, environment: {} }
  const remedies = [
    'install redis-server (Debian, Ubuntu: apt-get install redis-server) and put it on PATH',
    'use a Redis that runs already: REDIS_URL=redis://host:port',
  ]
  if (!hasApt()) throw new PartMissingError('Redis', 'redis-server is not on PATH, and this is not Debian', remedies)
  try {
    return await unpackedRedis(
      await cached('redis-debian', (directory) => fillWithRedis(directory, report, signal), { report }),
    )
  } catch (cause) {
    signal?.throwIfAborted()
    throw new PartMissingError('Redis', `redis-server is not on PATH\n${(cause as Error).message}`, remedies, { cause })
  }
}

async function fillWithRedis(directory: string, report: Report, signal?: AbortSignal): Promise<void> {
  report("setup: Redis: unpacking Debian's redis-server")
  await unpackPackages(['redis-server', 'redis-tools'], directory, report, signal)
  const libraries = await Promise.all(['lib', 'usr/lib'].map((folder) => libraryFolders(directory, folder)))
  await writeFile(join(directory, 'libraries'), libraries.flat().join('\n'))
}

/** Libraries lie in folders named after the machine's architecture. There are none where the machine has them all. */
async function libraryFolders(directory: string, folder: string): Promise<readonly string[]> {
  if (!existsSync(join(directory, folder))) return []
  const entries = await readdir(join(directory, folder), { withFileTypes: true })
  return entries
    .filter((entry) => entry.isDirectory() && entry.name.includes('-linux-'))
    .map((entry) => join(folder, entry.name))
}

async function unpackedRedis(directory: string): Promise<Program> {
  const libraries = (await readFile(join(directory, 'libraries'), 'utf8'))
    .split('\n')
    .filter((path) => path !== '')
    .map((path) => join(directory, path))
  const file = join(directory, 'usr', 'bin', 'redis-server')
  if (!existsSync(file)) throw new PartFailedError('Redis', `the packages hold no ${file}`, '')
  return { file, environment: { LD_LIBRARY_PATH: libraries.join(':') } }
}
