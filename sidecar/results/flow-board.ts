import type { Logger } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { CommandFailures } from './command-failures.ts'
import { decodeFlowReport, encodeFlowReport } from './flow-report.ts'
import type { FlowReport } from './flow-report.ts'
import { flowKey } from './keys.ts'
import type { RedisClient, Script } from './redis.ts'

/** The hash goes when no worker has reported for so long. */
const KEEP_MILLISECONDS = 60_000
/** Reports between two looks for those of workers that went without a word. */
const CLEAN_INTERVAL = 60

/**
 * Puts a worker's report beside the others', or takes it back, and drops old ones.
 *
 * KEYS     1 the hash of the topic
 * ARGV     1 the instance, 2 its report ('': none any more), 3 milliseconds to keep the hash,
 *          4 the time now: reports that are older or newer by more than that are dropped ('': not now)
 */
const REPORT_FLOW: Script = {
  name: 'reportFlow',
  lua: `
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
if ARGV[4] ~= '' then
  local reports = redis.call('HGETALL', KEYS[1])
  for i = 1, #reports, 2 do
    local time = tonumber(string.match(reports[i + 1], '^%d+ (%d+) '))
    if not time or math.abs(time - ARGV[4]) > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], reports[i]) end
  end
end
return 0
`,
}

export interface FlowBoardOptions {
  readonly redis: RedisClient
  readonly topic: string
  readonly logger: Logger
  readonly metrics: Metrics
}

/** Where the workers of a topic say how fast their work goes, and the proxies read it. A failure is left to the next second. */
export class FlowBoard {
  readonly #redis: RedisClient
  readonly #key: string
  readonly #logger: Logger
  readonly #failures: CommandFailures
  #reports = 0

  constructor({ redis, topic, logger, metrics }: FlowBoardOptions) {
    this.#redis = redis
    this.#key = flowKey(topic)
    this.#logger = logger
    this.#failures = new CommandFailures(metrics)
  }

  async report(instance: string, report: FlowReport): Promise<void> {
    const clean = this.#reports++ % CLEAN_INTERVAL === 0
    await this.#send(instance, encodeFlowReport(report), clean ? report.time : '')
  }

  async withdraw(instance: string): Promise<void> {
    await this.#send(instance, '', '')
  }

  /** @returns what can be read of what stands there; undefined: Redis did not answer. */
  async read(): Promise<readonly FlowReport[] | undefined> {
    if (!this.#redis.ready) return undefined
    try {
      const [values] = (await this.#redis.each('hvals', [[this.#key]])) as [readonly string[]]
      return values.map(decodeFlowReport).filter((report) => report !== undefined)
    } catch (error) {
      this.#failed(error)
      return undefined
    }
  }

  async #send(instance: string, report: string, cleanAt: number | ''): Promise<void> {
    if (!this.#redis.ready) return
    try {
      await this.#redis.script(REPORT_FLOW, [this.#key], [instance, report, KEEP_MILLISECONDS, cleanAt])
    } catch (error) {
      this.#failed(error)
    }
  }

  #failed(error: unknown): void {
    this.#failures.add(error)
    this.#logger.debug(
      { reason: (error as Error).message },
      'Redis does not know how fast work goes; again in a second',
    )
  }
}
