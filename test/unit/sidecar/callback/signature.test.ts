import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SigningKeyError, signedHeaders, signingKeys } from '../../../../sidecar/callback/signature.ts'

const KEY = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const BODY = Buffer.from('{"test": 2432232314}')

describe('signatures', () => {
  test("are those of Standard Webhooks: its reference library's example", () => {
    assert.deepEqual(signedHeaders(signingKeys(KEY), 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1_614_265_330, BODY), {
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    })
  })

  test('are as many as there are keys, so that receivers may have either', () => {
    const second = `whsec_${Buffer.alloc(64, 7).toString('base64')}`
    const signature = (secret: string) => signedHeaders(signingKeys(secret), 'a', 1, BODY)['webhook-signature']
    assert.equal(signature(`${KEY} ${second}\n`), `${signature(KEY)} ${signature(second)}`)
  })
})

describe('a signing key', () => {
  const encoded = (bytes: number) => Buffer.alloc(bytes, 'k').toString('base64')

  test('has 24 to 64 bytes', () => {
    for (const bytes of [24, 64]) assert.deepEqual(signingKeys(`whsec_${encoded(bytes)}`), [Buffer.alloc(bytes, 'k')])
  })

  for (const [what, text] of [
    ['too short', `whsec_${encoded(23)}`],
    ['too long', `whsec_${encoded(65)}`],
    ['without its prefix', encoded(32)],
    ['of a key pair', `whsk_${encoded(32)}`],
    ['no base64', `whsec_${encoded(32)}!`],
    ['second one', `${KEY} whsec_`],
    ['missing', ' \n'],
  ] as const)
    test(`is refused: ${what}, and not told`, () => {
      assert.throws(
        () => signingKeys(text),
        (error) =>
          error instanceof SigningKeyError &&
          error.code === 'SIGNING_KEY_UNUSABLE' &&
          !error.message.includes(encoded(23).slice(0, 6)),
      )
    })
})
