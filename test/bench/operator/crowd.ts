/** The users of many CalculateServices in one namespace: what they ask of the API server, and how they know that it is done. */
import { pino } from 'pino'
import { KubeConfig } from '@kubernetes/client-node'
import type { CalculateService } from '../../../crds/types.ts'
import { systemClock } from '../../../operator/controller/clock.ts'
import { Informer } from '../../../operator/controller/informer.ts'
import { RestClient } from '../../../operator/controller/rest-client.ts'
import { HttpTransport } from '../../../operator/controller/transport.ts'
import { CALCULATE_SERVICES } from '../../../operator/kinds.ts'
import { atEnd, type Lifetime } from '../../integration/support/clean-up.ts'
import type { Namespace } from '../../operator/support/namespace.ts'
import { serviceName, userService, type Version } from './services.ts'

/** Users' requests at once. */
const USERS = 16
const PATIENCE_MILLISECONDS = 240_000

/** Events did not come to their end in time. `code` is `BENCH_LATE`. */
export class LateError extends Error {
  readonly code = 'BENCH_LATE'
}

export interface CrowdOptions {
  readonly namespace: Namespace
  readonly brokers: readonly string[]
  readonly replicas: number
}

/** Called with what the API server stored, once a user was answered. */
type Told = (stored: CalculateService) => void

export class Crowd {
  readonly #options: CrowdOptions
  readonly #informer: Informer<CalculateService>
  #changed: () => void = () => undefined

  private constructor(options: CrowdOptions, informer: Informer<CalculateService>) {
    this.#options = options
    this.#informer = informer
    informer.onChange(() => this.#changed())
  }

  static async start(life: Lifetime, options: CrowdOptions): Promise<Crowd> {
    const { cluster, name } = options.namespace
    const config = new KubeConfig()
    config.loadFromFile(cluster.access.adminKubeconfig)
    const transport = new HttpTransport(config)
    const informer = new Informer({
      resource: CALCULATE_SERVICES,
      namespaces: [name],
      client: new RestClient({ transport, clock: systemClock }),
      clock: systemClock,
      random: Math.random,
      logger: pino({ level: 'silent' }),
      resyncMilliseconds: 0,
    })
    const crowd = new Crowd(options, informer)
    const over = new AbortController()
    const running = informer.run(over.signal)
    atEnd(life, async () => {
      over.abort(new Error('the benchmark is over'))
      await running
      transport.close()
    })
    await informer.whenSynced()
    return crowd
  }

  /** Done: the condition is True for what the spec says now, and the whole status was written for that. Milliseconds. */
  async apply(
    indexes: readonly number[],
    version: Version,
    condition: 'TopicReady' | 'Ready',
    told: Told = () => undefined,
  ): Promise<number> {
    const { namespace, brokers, replicas } = this.#options
    const generations = new Map<string, number>()
    return this.#time(
      indexes,
      async (index) => {
        const wanted = userService(index, version, { namespace: namespace.name, brokers, replicas })
        const stored = (await namespace.apply(wanted)) as unknown as CalculateService
        generations.set(stored.metadata.name, stored.metadata.generation ?? 0)
        told(stored)
      },
      (name, service) => service !== undefined && isDone(service, condition, generations.get(name)),
    )
  }

  /** Done: the object is gone, and so its finalizer said that its topics are. Milliseconds. */
  async delete(indexes: readonly number[], told: Told = () => undefined): Promise<number> {
    const { namespace } = this.#options
    return this.#time(
      indexes,
      async (index) => {
        const name = serviceName(index)
        const before = this.service(name)
        await namespace.delete('CalculateService', name)
        if (before !== undefined) told(before)
      },
      (_name, service) => service === undefined,
    )
  }

  service(name: string): CalculateService | undefined {
    return this.#informer.cache.get(`${this.#options.namespace.name}/${name}`)
  }

  /** @returns milliseconds from the first request to the last end. */
  async #time(
    indexes: readonly number[],
    ask: (index: number) => Promise<void>,
    isOver: (name: string, service: CalculateService | undefined) => boolean,
  ): Promise<number> {
    const began = performance.now()
    const left = new Set(indexes.map(serviceName))
    let end: (milliseconds: number) => void = () => undefined
    const over = new Promise<number>((resolve) => {
      end = resolve
    })
    const look = (): void => {
      for (const name of left) if (isOver(name, this.service(name))) left.delete(name)
      if (left.size === 0) end(performance.now() - began)
    }
    // Many changes of one moment are one look.
    let looking = false
    this.#changed = () => {
      if (looking) return
      looking = true
      setImmediate(() => {
        looking = false
        look()
      })
    }
    const late = new Promise<never>((_resolve, reject) => {
      const timer = setTimeout(() => {
        const [name = ''] = left
        const conditions = JSON.stringify(this.service(name)?.status?.conditions)
        reject(
          new LateError(`${left.size} of ${indexes.length} are not done in time, ${name} among them: ${conditions}`),
        )
      }, PATIENCE_MILLISECONDS)
      void over.then(() => clearTimeout(timer))
    })
    try {
      const [, milliseconds] = await Promise.race([
        Promise.all([
          inParallel(indexes, USERS, async (index) => {
            await ask(index)
            this.#changed()
          }),
          over,
        ]),
        late,
      ])
      return milliseconds
    } finally {
      this.#changed = () => undefined
      end(0)
    }
  }
}

function isDone({ metadata, status }: CalculateService, condition: string, generation: number | undefined): boolean {
  const found = status?.conditions?.find(({ type }) => type === condition)
  return (
    generation !== undefined &&
    metadata.generation === generation &&
    status?.observedGeneration === generation &&
    found?.status === 'True' &&
    found.observedGeneration === generation
  )
}

/** So many at once, in order. */
async function inParallel<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}
