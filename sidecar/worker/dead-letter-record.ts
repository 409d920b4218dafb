/** Dead letters as an Observer of a failure topic runs them. */
import { beforeAttempts } from '../kafka/record.ts'
import type { Decoded, RawRecord } from '../kafka/record.ts'
import { isPrintable } from '../metadata.ts'

const PREFIX = 'dead-'

export const isDeadLetter = ({ headers }: RawRecord): boolean => headers['dead-reason'] !== undefined

/** Its attempts were another group's: here it is run from the first one. */
export function fromTheBeginning(decoded: Decoded, raw: RawRecord): Decoded {
  if (decoded.kind !== 'Call' || !isDeadLetter(raw)) return decoded
  return { kind: 'Call', record: { ...beforeAttempts(decoded.record), redriveRevision: 0 } }
}

/** The headers that say whence it came and why, as metadata for the handler. */
export function deadMetadata({ headers }: RawRecord): Record<string, string> {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(PREFIX)) continue
    const text = String((Array.isArray(value) ? value.at(-1) : value) ?? '')
    metadata[name] = isPrintable(text) ? text : text.replaceAll(/[^\x20-\x7e]/g, '?')
  }
  return metadata
}
