/** The list in docs/kafka.md holds what Kafka must allow the sidecars' users to do, and nothing else. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { GrpcStatus } from '../../sidecar/errors.ts'
import { documentedPermissions, type Permission } from './support/kafka-acl.ts'
import { ownSecuredKafka } from './support/own.ts'
import { PATIENT, until } from './support/route.ts'
import type { Route, RouteOptions } from './support/route.ts'
import { PASSWORD, byScram } from './support/secured-kafka.ts'
import { assertSays, sidecars, startUnready } from './support/unready.ts'

test('a Kafka that allows nothing by itself', async (t) => {
  const { kafka, files } = await ownSecuredKafka(t, {
    users: ['proxy', 'worker'],
    properties: {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      // Whoever comes by the plain door: the broker itself and the test.
      'super.users': 'User:ANONYMOUS',
    },
  })
  const scram = kafka.listeners['SCRAM'] ?? []
  const options: RouteOptions = {
    brokers: kafka.brokers,
    kafka: byScram(scram, files, 'proxy'),
    workerKafka: byScram(scram, files, 'worker'),
    method: PATIENT,
    worker: { retry: { maxAttempts: 2 } },
  }

  await t.test('the documented list is enough for a call, a dead letter and the offsets', async (part) => {
    const route = await startUnready(part, options)
    await route.admin.createAcls({ acl: documentedPermissions().map((one) => one.of(route)) })
    for (const sidecar of sidecars(route)) await route.ready(sidecar)
    assert.equal((await route.call({ id: 'one', reply: 'yes' })).reply?.toString(), 'yes')
    assert.equal((await route.call({ id: 'two', status: GrpcStatus.UNAVAILABLE })).code, GrpcStatus.UNAVAILABLE)
    assert.equal(await route.records(`${route.topic}.dead`), 1)
    await until('every offset is committed', async () => (await route.lag()) === 0)
  })

  for (const missing of documentedPermissions()) {
    await t.test(`without "${missing.line}" that is told, and the sidecar gets ready with it`, async (part) => {
      const route = await startUnready(part, options)
      const others = documentedPermissions().filter(({ line }) => line !== missing.line)
      await route.admin.createAcls({ acl: others.map((one) => one.of(route)) })
      for (const sidecar of sidecars(route)) {
        if (sidecar.config.role !== missing.role) await route.ready(sidecar)
        else
          await assertSays(route, sidecar, new RegExp(`not authorized to access ${missing.resource}`, 'i'), [PASSWORD])
      }
      await route.admin.createAcls({ acl: [missing.of(route)] })
      for (const sidecar of sidecars(route)) await route.ready(sidecar)
      assert.equal((await route.call({ id: 'one' })).code, 0)
    })
  }

  const needed = documentedPermissions()
  const forRetries = documentedPermissions('acl-retry')
  const withRetryTopic = async (part: TestContext, allowed: readonly Permission[]): Promise<Route> => {
    const route = await startUnready(part, { ...options, retryTopics: 1, method: { timeoutMilliseconds: 60_000 } })
    await route.admin.createAcls({ acl: allowed.map((one) => one.of(route)) })
    for (const proxy of route.proxies) await route.ready(proxy)
    return route
  }
  const failsOnce = { status: GrpcStatus.UNAVAILABLE, failures: 1 }

  await t.test('with the list for retry topics a call waits there for its next attempt', async (part) => {
    const route = await withRetryTopic(part, [...needed, ...forRetries])
    assert.equal((await route.call({ id: 'one', ...failsOnce }, { deadline: 60_000 })).code, 0)
    assert.equal(await route.records(route.retryTopics[0]), 1)
    await until('every offset is committed', async () => (await route.lag()) === 0)
  })

  await t.test('without it a call waits in its worker', async (part) => {
    const route = await withRetryTopic(part, needed)
    assert.equal((await route.call({ id: 'one', ...failsOnce }, { deadline: 60_000 })).code, 0)
    assert.equal(await route.records(route.retryTopics[0]), 0)
  })

  for (const missing of forRetries) {
    await t.test(`without "${missing.line}" that is told, and a call that failed goes on with it`, async (part) => {
      const route = await withRetryTopic(part, [...needed, ...forRetries.filter((one) => one !== missing)])
      const answer = route.call({ id: 'one', ...failsOnce }, { deadline: 60_000 })
      const { lines } = route.workers[0]!.process
      await until('that is told', () => lines.some((line) => /not authorized|TOPIC_AUTHORIZATION_FAILED/i.test(line)))
      await route.admin.createAcls({ acl: [missing.of(route)] })
      const { code, details } = await answer
      assert.deepEqual({ code, details }, { code: 0, details: '' })
    })
  }
})
