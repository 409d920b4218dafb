/** One POST to a receiver: to an address that was looked at, and to nowhere that its answer points to. */
import type { LookupAddress } from 'node:dns'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { RequestOptions } from 'node:https'
import type { LookupFunction } from 'node:net'
import { isAllowed } from './address.ts'
import type { Network } from './address.ts'

/** Resolves a name to all of its addresses, as `lookup` of node:dns/promises does with `all`. */
export type Resolve = (name: string) => Promise<readonly LookupAddress[]>

export interface Post {
  /** Of a name, not of an address: an address would be connected to without being resolved. */
  readonly url: URL
  readonly network: Network
  /** Trusted instead of the well-known authorities, PEM. */
  readonly ca?: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** Thrown where no answer came. */
export class PostError extends Error {
  readonly code: 'ADDRESS_NOT_ALLOWED' | 'NO_ANSWER'
  constructor(code: PostError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'PostError'
    this.code = code
  }
}

/**
 * The name is resolved once. Where any of its addresses is not of the receiver's network, none is called; else the connection is to one
 * of them, whatever the name resolves to by then. The host of the URL is what the request and the certificate are held to. No redirect is
 * followed, no proxy of the environment is used, and nothing of the answer but its status is read.
 *
 * @returns the HTTP status
 * @throws PostError; the signal's reason
 */
export async function post({ url, network, ca, headers, body }: Post, resolve: Resolve, signal: AbortSignal) {
  try {
    // With a dot at its end a name is not looked for in the cluster's own domains first.
    const name = network === 'Public' ? `${url.hostname}.` : url.hostname
    const addresses = await abortable(resolve(name), signal)
    if (addresses.length === 0 || !addresses.every(({ address }) => isAllowed(address, network)))
      throw new PostError('ADDRESS_NOT_ALLOWED', `an address of the host is not ${network.toLowerCase()}`)
    const options = {
      method: 'POST',
      headers: { ...headers, 'content-length': body.length },
      signal,
      agent: false as const,
      lookup: pinned(addresses),
      ...(ca === undefined ? {} : { ca }),
    }
    return await abortable(send(url, options, body), signal)
  } catch (cause) {
    signal.throwIfAborted()
    if (cause instanceof PostError) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    throw new PostError('NO_ANSWER', code ?? message, { cause })
  }
}

const pinned =
  (addresses: readonly LookupAddress[]): LookupFunction =>
  (_name, { all }, done) => {
    const [first] = addresses
    if (all === true) done(null, [...addresses])
    else done(null, first!.address, first!.family)
  }

function send(url: URL, options: RequestOptions, body: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options)
    sent.on('response', (response) => {
      resolve(response.statusCode ?? 0)
      response.destroy()
    })
    // 101: without a listener the connection would be closed and nothing told of it.
    sent.on('upgrade', (response, socket) => {
      resolve(response.statusCode ?? 0)
      socket.destroy()
    })
    sent.on('error', reject)
    sent.on('close', () => reject(new PostError('NO_ANSWER', 'the connection was closed')))
    sent.end(body)
  })
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(signal.reason as Error)
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort)
  return Promise.race([work, promise]).finally(() => signal.removeEventListener('abort', onAbort))
}
