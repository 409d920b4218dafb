/** A Redis of one's own, with its data in one folder. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { findOnPath } from '../bootstrap/which.mjs'
import { reportToTerminal, type Report } from '../report.ts'
import { cached } from './cache.ts'
import { hasApt, unpackPackages } from './debian.ts'
import { freePort } from './free-port.ts'
import { PartFailedError } from './part-failed.ts'
import { PartMissingError } from './part-missing.ts'
import { startServer, type Server } from './server.ts'

/** How long a server may take to answer. */
export const START_MILLISECONDS = 30_000

export type RedisOptions = {
  /** Data and log go here; made when it is not there. */
  readonly directory: string
  /** Chosen when not given. */
  readonly port?: number
  /** Added to the command line, e.g. `['--appendonly', 'yes']`. */
  readonly args?: readonly string[]
  readonly report?: Report
}

export type RedisServer = Server & {
  /** `redis://127.0.0.1:port` */
  readonly url: string
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
  await mkdir(directory, { recursive: true })

  const server = await startServer(
    {
      name: 'Redis',
      address: `127.0.0.1:${port}`,
      process: {
        command: program.file,
        args: [
          `--port ${port} --bind 127.0.0.1 --daemonize no --appendonly no`.split(' '),
          ['--dir', directory, '--save', ''],
          options.args ?? [],
        ].flat(),
        directory,
        environment: { ...process.env, ...program.environment },
      },
      logFile: join(directory, 'redis.log'),
      startMilliseconds: START_MILLISECONDS,
      untilAnswers: (given) => untilRedisAnswers(url, given),
    },
    signal,
  )
  return Object.assign(server, { url })
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
export async function ensureRedis(report: Report, signal?: AbortSignal): Promise<Program> {
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
