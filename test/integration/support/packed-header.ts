/** The packed header of a record, written by hand: a second opinion on the format that sidecar/kafka/record.ts describes. */
import { randomBytes } from 'node:crypto'
import type { CallId } from '../../../sidecar/call-id.ts'
import { METHOD } from './service.ts'

export interface HeaderParts {
  readonly version?: number
  readonly id?: CallId
  /** Milliseconds since 1970. */
  readonly deadline?: number
  readonly replyTo?: string
  readonly attempt?: number
  readonly method?: string
  readonly caller?: string
}

export const randomCallId = (): CallId => {
  const id = randomBytes(16)
  id[6] = 0x70 | ((id[6] ?? 0) & 0x0f)
  id[8] = 0x80 | ((id[8] ?? 0) & 0x3f)
  return id
}

const number = (value: number, bytes: number): Buffer => {
  const buffer = Buffer.alloc(bytes)
  buffer.writeUIntBE(value, 0, bytes)
  return buffer
}

/** What every version begins with. */
export function packedPrefix({
  version = 1,
  id = randomCallId(),
  deadline = Date.now() + 20_000,
  replyTo = '',
}: HeaderParts): Buffer {
  return Buffer.concat([
    number(version, 1),
    id,
    number(deadline, 6),
    number(replyTo.length, 1),
    Buffer.from(replyTo, 'latin1'),
  ])
}

export function packedHeader(parts: HeaderParts = {}): Buffer {
  const { attempt = 1, method = METHOD.slice(1), caller = '' } = parts
  return Buffer.concat([
    packedPrefix(parts),
    number(0, 1),
    number(attempt, 1),
    number(Date.now(), 6),
    number(0, 6),
    number(method.length, 2),
    Buffer.from(method, 'latin1'),
    number(caller.length, 2),
    Buffer.from(caller),
  ])
}
