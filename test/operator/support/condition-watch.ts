/** Every condition that ever stands in the status of a resource of a namespace, however short. */
import { request } from 'node:https'
import { readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { atEnd } from '../../integration/support/clean-up.ts'
import { OUR_KINDS, pathOf, type OurKind } from './kinds.ts'
import type { Condition, Namespace, Stored } from './namespace.ts'
import { until } from './until.ts'

export type Sighting = Pick<Condition, 'type' | 'status' | 'reason' | 'message'> & {
  readonly kind: OurKind
  readonly name: string
}

type WatchEvent = { readonly type: string; readonly object: Stored }

export class ConditionWatch {
  readonly seen: Sighting[] = []
  readonly #ofObject = new Map<string, Sighting[]>()
  #broken: Error | undefined

  /** Of what is written from now on. Ends with the test. */
  static async start(t: TestContext, namespace: Namespace): Promise<ConditionWatch> {
    const watch = new ConditionWatch()
    await Promise.all(OUR_KINDS.map((kind) => watch.#follow(t, namespace, kind)))
    return watch
  }

  /** @param says  what its message has in it */
  async untilSeen(kind: OurKind, name: string, type: string, reason: string, says = ''): Promise<Sighting> {
    const ofIt = (): readonly Sighting[] => this.#ofObject.get(`${kind} ${name}`) ?? []
    return until(`${type} of ${kind} ${name} was ${reason} once`, () => {
      if (this.#broken !== undefined) throw this.#broken
      return ofIt().find((one) => one.type === type && one.reason === reason && one.message.includes(says))
    }).catch((error: unknown) => {
      const told = ofIt().map((one) => `${one.type} ${one.reason}: ${one.message}`)
      throw new Error(`${(error as Error).message}; seen was:\n${told.join('\n')}`, { cause: error })
    })
  }

  /** A watch from what a list gave leaves no version of an object out. */
  async #follow(t: TestContext, namespace: Namespace, kind: OurKind): Promise<void> {
    const path = pathOf(kind, namespace.name)
    const { body } = await namespace.cluster.api.request<{ readonly metadata: { readonly resourceVersion: string } }>(
      'GET',
      path,
    )
    const over = new AbortController()
    atEnd(t, () => over.abort())
    this.#watch(namespace, kind, body.metadata.resourceVersion, over.signal)
  }

  /**
   * An API server ends a watch whose reader is behind (as tests on a busy machine are); the next one begins with the version behind
   * the last that was read, and so leaves none out either: if the API server no longer knows it, it says 410, and this breaks.
   */
  #watch(namespace: Namespace, kind: OurKind, from: string, signal: AbortSignal): void {
    const { url, authorityFile, token } = namespace.cluster.access.admin
    const query = `watch=1&timeoutSeconds=3600&allowWatchBookmarks=true&resourceVersion=${from}`
    const call = request(new URL(`${pathOf(kind, namespace.name)}?${query}`, url), {
      ca: readFileSync(authorityFile),
      headers: { authorization: `Bearer ${token}`, accept: 'application/json' },
      signal,
    })
    const broke = (why: string): void => {
      if (!signal.aborted) this.#broken ??= new Error(`the watch of ${kind} broke: ${why}`)
    }
    let last = from
    call.on('error', (error) => broke(error.message))
    call.on('response', (response) => {
      if (response.statusCode !== 200) broke(`HTTP ${response.statusCode}`)
      let rest = ''
      response.setEncoding('utf8')
      response.on('error', (error) => broke(error.message))
      response.on('data', (text: string) => {
        const lines = `${rest}${text}`.split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          const { type, object } = JSON.parse(line) as WatchEvent
          if (type === 'ERROR') {
            broke(line)
            continue
          }
          last = object.metadata.resourceVersion
          if (type !== 'BOOKMARK') this.#take(kind, object)
        }
      })
      response.on('end', () => {
        if (!signal.aborted && this.#broken === undefined) this.#watch(namespace, kind, last, signal)
      })
    })
    call.end()
  }

  #take(kind: OurKind, { metadata: { name }, status }: Stored): void {
    for (const { type, status: is, reason, message } of (status?.['conditions'] ?? []) as readonly Condition[]) {
      const sighting = { kind, name, type, status: is, reason, message }
      this.seen.push(sighting)
      const key = `${kind} ${name}`
      const ofObject = this.#ofObject.get(key) ?? []
      if (ofObject.length === 0) this.#ofObject.set(key, ofObject)
      ofObject.push(sighting)
    }
  }
}
