/** What comes out of it one after the other. */
export interface Queue<T> extends Iterable<T> {
  readonly length: number
  push(item: T): void
  peek(): T | undefined
  shift(): T | undefined
  clear(): void
}

/** First in, first out, without moving what stands behind. */
export class Fifo<T> implements Queue<T> {
  #items: (T | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  push(item: T): void {
    this.#items.push(item)
  }

  peek(): T | undefined {
    return this.#items[this.#head]
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (let index = this.#head; index < this.#items.length; index++) yield this.#items[index] as T
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    // What was taken may be large, and must not live on here.
    this.#items[this.#head] = undefined
    this.#head += 1
    if (this.#head > 512 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }

  clear(): void {
    this.#items = []
    this.#head = 0
  }
}
