/** A Consul of one's own: one server in memory, on loopback. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { reportToTerminal, type Report } from '../report.ts'
import { ensureConsul } from './consul-program.ts'
import { freePort } from './free-port.ts'
import { startServer, type Server } from './server.ts'

const HOST = '127.0.0.1'
const START_MILLISECONDS = 60_000
const RETRY_MILLISECONDS = 50

export type ConsulOptions = {
  /** Its settings and log go here; made when it is not there. */
  readonly directory: string
  /** More settings, as in its configuration files: `{ acl: { enabled: true, default_policy: 'deny' } }`. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly report?: Report
}

/** Killed and started again it has forgotten everything. */
export type ConsulServer = Server & {
  /** `http://127.0.0.1:port` */
  readonly url: string
}

/**
 * Gets what is missing (the program), starts an agent and waits until it leads.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws PartMissingError when it cannot be had, PartFailedError with the end of its log when it does not come up
 */
export async function startConsul(options: ConsulOptions, signal?: AbortSignal): Promise<ConsulServer> {
  const { directory, config = {}, report = reportToTerminal } = options
  const program = await ensureConsul(report, signal)
  await mkdir(directory, { recursive: true })
  const [http, serfLan, server] = [await freePort(), await freePort(), await freePort()]
  const url = `http://${HOST}:${http}`
  const configFile = join(directory, 'consul.json')
  await writeFile(configFile, JSON.stringify({ disable_update_check: true, ...config }))
  const agent = await startServer(
    {
      name: 'Consul',
      address: url,
      process: {
        command: program,
        args: [
          ['agent', '-dev', `-bind=${HOST}`, `-client=${HOST}`, `-config-file=${configFile}`, '-log-level=warn'],
          [`-http-port=${http}`, `-serf-lan-port=${serfLan}`, `-server-port=${server}`],
          // A server alone has nobody to gossip with over the wide area; the rest is not asked for.
          ['-serf-wan-port=-1', '-dns-port=-1', '-grpc-port=-1', '-grpc-tls-port=-1'],
        ].flat(),
        directory,
      },
      logFile: join(directory, 'consul.log'),
      startMilliseconds: START_MILLISECONDS,
      untilAnswers: (given) => untilConsulLeads(url, given),
    },
    signal,
  )
  return Object.assign(agent, { url })
}

/**
 * Asks until Consul knows a leader: before that it takes no registration.
 * @param signal  ends the asking; its reason is thrown
 */
export async function untilConsulLeads(url: string, signal: AbortSignal): Promise<void> {
  const leads = async (): Promise<boolean> => {
    const answer = await fetch(`${url}/v1/status/leader`, { signal })
    return answer.ok && (await answer.json()) !== ''
  }
  while (!(await leads().catch(() => false))) {
    signal.throwIfAborted()
    await pause(RETRY_MILLISECONDS, undefined, { signal })
  }
}
