import { beforeAttempts, rewriteRecord } from '../../sidecar/kafka/record.ts'
import type { RawOutgoingRecord } from '../../sidecar/kafka/record.ts'
import type { DeadLetter } from './dead-letter.ts'

/** A dead letter that cannot be redriven. `code` is `NOT_REDRIVABLE`. */
export class NotRedrivableError extends Error {
  readonly code = 'NOT_REDRIVABLE'
  constructor(place: string, why: string) {
    super(`${place} cannot be redriven: ${why}`)
    this.name = 'NotRedrivableError'
  }
}

interface Redriven {
  readonly id: Buffer
  /** `package.Service/Method` */
  readonly method: string
  /** @param deadline milliseconds since 1970 on the shared clock. @param now the same. */
  record(deadline: number, now: number): RawOutgoingRecord
}

/**
 * The call of a dead letter as it is run again: under its id, from its first attempt, and nobody waits for it.
 * @param revision of the redrive, from 1 (`OpenLetters.redriveOf`).
 * @throws NotRedrivableError
 */
export function redriven(
  { place, record: raw, decoded, ofObserver, group, truncatedFrom }: DeadLetter,
  revision: number,
): Redriven {
  if (truncatedFrom !== undefined)
    throw new NotRedrivableError(
      place,
      `only the first ${raw.value?.length ?? 0} of its ${truncatedFrom} bytes were kept, for the failure topic refused it for its size`,
    )
  if (decoded.kind === 'Newer')
    throw new NotRedrivableError(place, `it was written by version ${decoded.version}, which is not known here`)
  if (decoded.kind === 'Unreadable') throw new NotRedrivableError(place, `it is no call: ${decoded.reason}`)
  if (ofObserver)
    throw new NotRedrivableError(
      place,
      `it is of the Observer ${group}, and a redrive is run by the Responder, which may have answered the call`,
    )
  const { record } = decoded
  const headers = Object.fromEntries(Object.entries(raw.headers).filter(([name]) => !name.startsWith('dead-')))
  const call = beforeAttempts(record)
  return {
    id: record.id,
    method: record.method,
    record: (deadline, now) =>
      rewriteRecord(
        { ...raw, key: raw.key ?? record.id, headers },
        { ...call, deadline, replyTo: '', enqueuedAt: now, redriveRevision: revision },
      ),
  }
}
