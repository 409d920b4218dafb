/**
 * A configuration that may change while the process runs. Whoever needs a hot setting reads `current` at the moment it
 * is needed, which costs a field, or subscribes where a change has to be carried out. What is not hot
 * (hot-settings.ts) is the same in every `current`.
 */
export class LiveConfig<T> {
  #current: T
  readonly #listeners = new Set<(now: T, before: T) => void>()

  constructor(initial: T) {
    this.#current = initial
  }

  get current(): T {
    return this.#current
  }

  /** @param listener is called right after each change, in the order of subscription, and must not throw. */
  subscribe(listener: (now: T, before: T) => void): void {
    this.#listeners.add(listener)
  }

  /** To be called with a configuration that was checked as a whole. */
  replace(next: T): void {
    const before = this.#current
    this.#current = next
    for (const listener of this.#listeners) listener(next, before)
  }
}
