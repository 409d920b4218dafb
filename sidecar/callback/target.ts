/** What may be called: receivers by their names, and nothing else that a URL can say. */

/** A receiver as a resource allows it. */
export interface Receiver {
  /** A name in lower case, as DNS has it: never an address. */
  readonly host: string
  /** Default: the scheme's. */
  readonly port?: number | undefined
  readonly scheme: 'HTTPS' | 'HTTP'
}

export type Target<R extends Receiver> =
  | { readonly kind: 'Allowed'; readonly url: URL; readonly receiver: R }
  /** @property reason of a sentence whose subject is the URL; holds nothing of it. */
  | { readonly kind: 'Refused'; readonly reason: string }

const LONGEST_URL = 2048

/** Spaces and controls too: URL's parser would drop some of them without a word. */
const VISIBLE_ASCII = /^[\x21-\x7e]+$/

const DEFAULT_PORTS = { HTTPS: 443, HTTP: 80 } as const

/**
 * Holds a URL against the receivers. Only what the parser of the WHATWG's URL standard made of it is compared, and only that is called
 * afterwards, so that no other reading of the text comes in between: an address in whatever spelling is made `127.0.0.1` there, and is no
 * receiver's name.
 */
export function findTarget<R extends Receiver>(text: string, receivers: readonly R[]): Target<R> {
  if (text.length > LONGEST_URL) return refused(`has more than ${LONGEST_URL} characters`)
  if (!VISIBLE_ASCII.test(text) || !URL.canParse(text)) return refused('is no URL in visible ASCII characters')
  const url = new URL(text)
  if (url.href.length > LONGEST_URL) return refused(`has more than ${LONGEST_URL} characters`)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return refused('is neither https nor http')
  if (url.username !== '' || url.password !== '') return refused('has user information')
  // One without a name is not told by `hash`.
  if (url.href.includes('#')) return refused('has a fragment')
  const scheme = url.protocol === 'https:' ? 'HTTPS' : 'HTTP'
  const port = url.port === '' ? DEFAULT_PORTS[scheme] : Number(url.port)
  const receiver = receivers.find(
    (one) => one.host === url.hostname && one.scheme === scheme && (one.port ?? DEFAULT_PORTS[scheme]) === port,
  )
  if (receiver === undefined) return refused("is none of a receiver of the service's callbacks")
  return { kind: 'Allowed', url, receiver }
}

const refused = (reason: string) => ({ kind: 'Refused', reason }) as const
