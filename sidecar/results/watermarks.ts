/** Watermarks of a consumer group in Redis: everything below is finished (SEMANTICS 5). */
import type { Metrics } from '../telemetry/metrics.ts'
import { CommandFailures } from './command-failures.ts'
import { watermarkKey } from './keys.ts'
import type { RedisClient, Script } from './redis.ts'

/** As long as Kafka remembers the offsets of a group that nobody is in, by default. */
const KEEP_MILLISECONDS = 7 * 24 * 3_600_000

/**
 * Moves watermarks forward, never back: what is below one is finished, whoever says so, so whoever comes late with a lower one is not
 * listened to.
 *
 * KEYS     one for each partition
 * ARGV     1 milliseconds to keep, then for each partition: the watermark, its window, and the watermark that was found to be of no
 *          such log and may go back ('': none)
 * returns  for each partition the watermark that stands
 */
const ADVANCE: Script = {
  name: 'advanceWatermarks',
  lua: `
local result = {}
for i, key in ipairs(KEYS) do
  local offset, window, wrong = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local stored = redis.call('GET', key)
  local stands = tonumber(stored and string.match(stored, '^%d+') or -1)
  if tonumber(offset) >= stands or tonumber(wrong) == stands then
    redis.call('SET', key, offset .. ' ' .. window, 'PX', ARGV[1])
    stands = tonumber(offset)
  end
  result[i] = stands
end
return result
`,
}

/** One log: a partition of a topic and not of an earlier one of its name. */
export interface Log {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

export interface Watermark {
  readonly offset: number
  /** No record at or beyond `offset + window` was started by whoever wrote this. */
  readonly window: number
}

export interface WatermarksOptions {
  readonly redis: RedisClient
  readonly groupId: string
  readonly metrics: Metrics
}

/** Nothing is repeated here: whoever asks does it again. */
export class Watermarks {
  readonly #redis: RedisClient
  readonly #groupId: string
  readonly #failures: CommandFailures

  constructor({ redis, groupId, metrics }: WatermarksOptions) {
    this.#redis = redis
    this.#groupId = groupId
    this.#failures = new CommandFailures(metrics)
  }

  /** Undefined: there is none, or none that can be read. @throws when Redis does not answer. */
  async read(logs: readonly Log[]): Promise<(Watermark | undefined)[]> {
    const values = await this.#told(this.#redis.getAll(logs.map((log) => watermarkKey(this.#groupId, log))))
    return values.map((value) => decode(value?.toString() ?? ''))
  }

  /**
   * @param wrong of each, by its place: goes back where it is this that stands.
   * @returns the offset that stands for each: that, or a higher one.
   * @throws when Redis does not answer.
   */
  async advance(
    marks: readonly (Log & Watermark)[],
    wrong: readonly (number | undefined)[] = [],
  ): Promise<readonly number[]> {
    const items = marks.map((mark, index) => ({ mark, wrong: wrong[index] ?? '' }))
    const say = (part: typeof items) =>
      this.#redis.script(
        ADVANCE,
        part.map(({ mark }) => watermarkKey(this.#groupId, mark)),
        [KEEP_MILLISECONDS, ...part.flatMap((item) => [item.mark.offset, item.mark.window, item.wrong])],
      ) as Promise<number[]>
    return (await this.#told(Promise.all(this.#redis.parts(items).map((part) => say([...part]))))).flat()
  }

  async #told<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      this.#failures.add(error)
      throw error
    }
  }
}

function decode(text: string): Watermark | undefined {
  const [, offset, window] = /^(\d+) (\d+)$/.exec(text) ?? []
  return offset === undefined ? undefined : { offset: Number(offset), window: Number(window) }
}
