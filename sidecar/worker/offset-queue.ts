import type { Queue } from './fifo.ts'

/** The one with the lowest offset first, in whatever order they came: a binary heap. */
export class OffsetQueue<T extends { readonly offset: number }> implements Queue<T> {
  #heap: T[] = []

  get length(): number {
    return this.#heap.length
  }

  peek(): T | undefined {
    return this.#heap[0]
  }

  /** In order. */
  *[Symbol.iterator](): IterableIterator<T> {
    yield* this.#heap.toSorted((a, b) => a.offset - b.offset)
  }

  push(item: T): void {
    const heap = this.#heap
    let at = heap.length
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (heap[parent]!.offset <= item.offset) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = item
  }

  shift(): T | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.offset < heap[child]!.offset) child += 1
      if (heap[child]!.offset >= last.offset) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }

  clear(): void {
    this.#heap = []
  }
}
