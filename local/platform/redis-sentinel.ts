import { writeFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { reportToTerminal, type Report } from '../report.ts'
import { freePort } from './free-port.ts'
import { ensureRedis, untilRedisAnswers, START_MILLISECONDS } from './redis.ts'
import { startServer, type Server } from './server.ts'

export type SentinelOptions = {
  /** Its settings, which it writes itself, and its log go here; made when it is not there. */
  readonly directory: string
  /** What it calls the master, and where that is now. */
  readonly master: { readonly name: string; readonly port: number }
  /** Sentinels that must agree that the master is away. */
  readonly quorum: number
  /** After how long without an answer a server is away. */
  readonly downMilliseconds: number
  readonly report?: Report
}

export type SentinelServer = Server & {
  /** `host:port` */
  readonly address: string
}

/**
 * Starts a Redis Sentinel on this machine.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws PartMissingError, PartFailedError
 */
export async function startSentinel(options: SentinelOptions, signal?: AbortSignal): Promise<SentinelServer> {
  const { directory, master, quorum, downMilliseconds, report = reportToTerminal } = options
  const program = await ensureRedis(report, signal)
  const port = await freePort()
  const address = `127.0.0.1:${port}`
  const settings = join(directory, 'sentinel.conf')
  await mkdir(directory, { recursive: true })
  await writeFile(
    settings,
    [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${directory}`,
      `sentinel monitor ${master.name} 127.0.0.1 ${master.port} ${quorum}`,
      `sentinel down-after-milliseconds ${master.name} ${downMilliseconds}`,
      `sentinel failover-timeout ${master.name} ${3 * downMilliseconds}`,
      '',
    ].join('\n'),
  )
  const server = await startServer(
    {
      name: 'Redis Sentinel',
      address,
      process: {
        command: program.file,
        args: [settings, '--sentinel'],
        directory,
        environment: { ...process.env, ...program.environment },
      },
      logFile: join(directory, 'sentinel.log'),
      startMilliseconds: START_MILLISECONDS,
      untilAnswers: (given) => untilRedisAnswers(`redis://${address}`, given),
    },
    signal,
  )
  return Object.assign(server, { address })
}
