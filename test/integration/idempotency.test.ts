import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Metadata } from '@grpc/grpc-js'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { PATIENT, startRoute, until } from './support/route.ts'

const withKey = (key: string): Metadata => {
  const metadata = new Metadata()
  metadata.set('idempotency-key', key)
  return metadata
}

test('a call with a known idempotency key', async (t) => {
  const route = await startRoute(t, { proxies: 2, method: PATIENT })

  await t.test('gets the first answer, byte for byte, from every replica, and runs once', async () => {
    const instruction = { id: 'again', reply: 'the one answer' }
    const first = await route.call(instruction, { metadata: withKey('again') })
    const others = await Promise.all(
      [0, 1].map((proxy) => route.call(instruction, { metadata: withKey('again'), proxy })),
    )
    for (const answer of [first, ...others]) {
      assert.deepEqual({ code: answer.code, reply: answer.reply?.toString() }, { code: 0, reply: 'the one answer' })
      assert.deepEqual(answer.trailing.get('grpc-kafka-call-id'), first.trailing.get('grpc-kafka-call-id'))
    }
    assert.equal(route.runs().get('again'), 1)
  })

  await t.test('with another request is FAILED_PRECONDITION, whether or not it has an outcome', async () => {
    const running = route.call({ id: 'first', sleep: 500 }, { metadata: withKey('reused') })
    await until('it runs', () => route.runs().has('first'))
    const early = await route.call({ id: 'second' }, { metadata: withKey('reused'), proxy: 1 })
    assert.equal(early.code, GrpcStatus.FAILED_PRECONDITION)
    assert.equal((await running).code, 0)
    const late = await route.call({ id: 'second' }, { metadata: withKey('reused'), proxy: 1 })
    assert.equal(late.code, GrpcStatus.FAILED_PRECONDITION)
    assert.equal(route.runs().has('second'), false)
  })
})
