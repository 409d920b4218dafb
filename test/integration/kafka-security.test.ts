/** TLS, passwords and client certificates, on a broker that asks for them. */
import assert from 'node:assert/strict'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { makeAuthority } from './support/certificates.ts'
import { ownSecuredKafka } from './support/own.ts'
import { PATIENT, startRoute } from './support/route.ts'
import type { Route } from './support/route.ts'
import { PASSWORD, byScram } from './support/secured-kafka.ts'
import { assertSays, sidecars, startUnready } from './support/unready.ts'

type KafkaInput = SidecarConfigInput['kafka']

test('a Kafka with TLS and SCRAM-SHA-512', async (t) => {
  const { kafka, files } = await ownSecuredKafka(t)
  const scram = kafka.listeners['SCRAM'] ?? []
  const mutual = kafka.listeners['MUTUAL'] ?? []

  const unready = (part: TestContext, input: KafkaInput): Promise<Route> =>
    startUnready(part, { brokers: kafka.brokers, kafka: input, method: PATIENT })
  const assertBothSay = async (route: Route, why: RegExp): Promise<void> => {
    for (const sidecar of sidecars(route)) await assertSays(route, sidecar, why, [PASSWORD, 'another-password'])
  }

  await t.test('carries calls', async (part) => {
    const route = await startRoute(part, { brokers: kafka.brokers, kafka: byScram(scram, files), method: PATIENT })
    assert.equal((await route.call({ id: 'one', reply: 'yes' })).reply?.toString(), 'yes')
  })

  await t.test('a wrong password is told, and once it is right the sidecars get ready by themselves', async (part) => {
    const passwordFile = join(files.directory, 'wrong-password')
    writeFileSync(passwordFile, 'another-password')
    const route = await unready(part, byScram(scram, { ...files, passwordFile }))
    await assertBothSay(route, /invalid credentials/)
    writeFileSync(passwordFile, PASSWORD)
    for (const sidecar of sidecars(route)) await route.ready(sidecar)
    assert.equal((await route.call({ id: 'one' })).code, 0)
  })

  await t.test('an authority that did not sign is told, and once it is right the sidecars get ready', async (part) => {
    const caFile = join(files.directory, 'wrong-ca')
    const stranger = await makeAuthority(files.directory, 'stranger')
    copyFileSync(stranger.certFile, caFile)
    const route = await unready(part, byScram(scram, { ...files, caFile }))
    await assertBothSay(route, /unable to verify|certificate/)
    copyFileSync(files.authority.certFile, caFile)
    for (const sidecar of sidecars(route)) await route.ready(sidecar)
    assert.equal((await route.call({ id: 'one' })).code, 0)
  })

  await t.test('a name that is not in the certificate is told', async (part) => {
    const input = byScram(scram, files)
    const route = await unready(part, { ...input, tls: { ...input.tls, serverName: 'kafka.example.org' } })
    await assertBothSay(route, /does not match certificate's altnames/)
  })

  await t.test('a client certificate is enough where the broker asks for one', async (part) => {
    const { caFile, client } = files
    const input = { brokers: [...mutual], tls: { caFile, certFile: client.certFile, keyFile: client.keyFile } }
    const route = await startRoute(part, { brokers: kafka.brokers, kafka: input, method: PATIENT })
    assert.equal((await route.call({ id: 'one' })).code, 0)
  })

  await t.test('a client certificate that is missing is told', async (part) => {
    const route = await unready(part, { brokers: [...mutual], tls: { caFile: files.caFile } })
    await assertBothSay(route, /alert (bad certificate|certificate required)/)
  })
})
