/** The types of Kafka's flexible messages (kafka.apache.org/protocol, KIP-482): compact lengths, and tagged fields that are skipped. */

/** A message that ends before it should, or is none. `code` is `KAFKA_MESSAGE_MALFORMED`. */
export class MalformedMessage extends Error {
  readonly code = 'KAFKA_MESSAGE_MALFORMED'
  constructor(options?: ErrorOptions) {
    super('a reply of Kafka cannot be read', options)
    this.name = 'MalformedMessage'
  }
}

export class Writer {
  readonly #parts: Buffer[] = []

  int8(value: number): this {
    return this.#push(1, (bytes) => bytes.writeInt8(value))
  }

  int16(value: number): this {
    return this.#push(2, (bytes) => bytes.writeInt16BE(value))
  }

  int32(value: number): this {
    return this.#push(4, (bytes) => bytes.writeInt32BE(value))
  }

  boolean(value: boolean): this {
    return this.int8(value ? 1 : 0)
  }

  /** A topic's id, as hexadecimal digits with hyphens. */
  uuid(value: string): this {
    this.#parts.push(Buffer.from(value.replaceAll('-', ''), 'hex'))
    return this
  }

  text(value: string | null): this {
    if (value === null) return this.#length(0)
    const bytes = Buffer.from(value)
    this.#length(bytes.length + 1)
    this.#parts.push(bytes)
    return this
  }

  /** Each item is followed by its own tagged fields, of which there are none. */
  array<T>(items: readonly T[] | null, write: (item: T) => unknown): this {
    if (items === null) return this.#length(0)
    this.#length(items.length + 1)
    for (const item of items) {
      write(item)
      this.tags()
    }
    return this
  }

  /** No tagged fields. */
  tags(): this {
    return this.#length(0)
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }

  #push(size: number, write: (bytes: Buffer) => unknown): this {
    const bytes = Buffer.allocUnsafe(size)
    write(bytes)
    this.#parts.push(bytes)
    return this
  }

  #length(value: number): this {
    const bytes: number[] = []
    let rest = value
    while (rest > 0x7f) {
      bytes.push((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.#parts.push(Buffer.from([...bytes, rest]))
    return this
  }
}

/** @throws RangeError when it ends too early. */
export class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  int8(): number {
    return this.#bytes.readInt8(this.#skip(1))
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#skip(2))
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#skip(4))
  }

  boolean(): boolean {
    return this.int8() !== 0
  }

  uuid(): string {
    const hex = this.#take(16).toString('hex')
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
  }

  text(): string | null {
    const length = this.#length()
    return length === 0 ? null : this.#take(length - 1).toString('utf8')
  }

  /** Items with their own tagged fields behind each. */
  array<T>(read: () => T): T[] {
    return this.plainArray(() => {
      const item = read()
      this.tags()
      return item
    })
  }

  /** Items that are no structures. */
  plainArray<T>(read: () => T): T[] {
    const items: T[] = []
    // One by one: a length that is nonsense ends with the message.
    for (let left = this.#length() - 1; left > 0; left--) items.push(read())
    return items
  }

  tags(): void {
    for (let left = this.#length(); left > 0; left--) {
      this.#length()
      this.#skip(this.#length())
    }
  }

  #length(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#bytes.readUInt8(this.#skip(1))
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new RangeError('a length has no end')
  }

  #take(length: number): Buffer {
    const start = this.#skip(length)
    return this.#bytes.subarray(start, start + length)
  }

  #skip(length: number): number {
    const start = this.#at
    if (start + length > this.#bytes.length) throw new RangeError('the message ends too early')
    this.#at += length
    return start
  }
}
