/** Signatures as Standard Webhooks 1.0.0 has them (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md). */
import { createHmac } from 'node:crypto'

const PREFIX = 'whsec_'
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/
const LEAST_KEY_BYTES = 24
const MOST_KEY_BYTES = 64

/** Thrown for text that holds no keys; says which of them and never what it is. */
export class SigningKeyError extends Error {
  readonly code = 'SIGNING_KEY_UNUSABLE'
  constructor(message: string) {
    super(message)
    this.name = 'SigningKeyError'
  }
}

/**
 * @param secret one or more keys, `whsec_` and 24 to 64 bytes in base64 each, with spaces or line ends between: while keys are changed
 * receivers have either.
 * @throws SigningKeyError
 */
export function signingKeys(secret: string): readonly Buffer[] {
  const texts = secret.split(/\s+/).filter((text) => text !== '')
  if (texts.length === 0) throw new SigningKeyError('the secret of the callbacks has no signing key')
  return texts.map((text, index) => {
    const encoded = text.slice(PREFIX.length)
    const key = Buffer.from(encoded, 'base64')
    if (
      !text.startsWith(PREFIX) ||
      !BASE64.test(encoded) ||
      key.length < LEAST_KEY_BYTES ||
      key.length > MOST_KEY_BYTES
    )
      throw new SigningKeyError(
        `signing key ${index + 1} is not ${PREFIX} and ${LEAST_KEY_BYTES} to ${MOST_KEY_BYTES} bytes in base64`,
      )
    return key
  })
}

/**
 * @param id must have no full stop, which is what ends it in the bytes that are signed.
 * @param seconds since 1970, when the message is sent.
 * @returns the headers that go with the body: one signature for each key.
 */
export const signedHeaders = (keys: readonly Buffer[], id: string, seconds: number, body: Buffer) => ({
  'webhook-id': id,
  'webhook-timestamp': String(seconds),
  'webhook-signature': keys
    .map((key) => `v1,${createHmac('sha256', key).update(`${id}.${seconds}.`).update(body).digest('base64')}`)
    .join(' '),
})
