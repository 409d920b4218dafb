/** TLS, passwords and client certificates, on a broker that asks for them. */
import assert from 'node:assert/strict'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { makeAuthority } from './support/certificates.ts'
import { atEnd } from './support/clean-up.ts'
import { ownSecuredKafka } from './support/own.ts'
import { PATIENT, Route, startRoute, until } from './support/route.ts'
import type { Sidecar } from './support/route.ts'
import { PASSWORD, byScram } from './support/secured-kafka.ts'

type KafkaInput = SidecarConfigInput['kafka']

test('a Kafka with TLS and SCRAM-SHA-512', async (t) => {
  const { kafka, files } = await ownSecuredKafka(t)
  const scram = kafka.listeners['SCRAM'] ?? []
  const mutual = kafka.listeners['MUTUAL'] ?? []

  /** Topics, a proxy and a worker that are not ready. */
  const unready = async (part: TestContext, input: KafkaInput): Promise<Route> => {
    const route = new Route({ brokers: kafka.brokers, kafka: input, method: PATIENT })
    atEnd(part, () => route.close())
    await route.createTopics()
    await Promise.all([route.startProxy({}, { whenReady: false }), route.startWorker({}, { whenReady: false })])
    return route
  }
  const sidecars = (route: Route): readonly Sidecar[] => [...route.proxies, ...route.workers]

  /** Both sidecars tell why, in their log and at /readyz, and neither tells a secret. */
  const assertSays = async (route: Route, why: RegExp): Promise<void> => {
    for (const sidecar of sidecars(route)) {
      const page = async (): Promise<string> =>
        (await fetch(`http://127.0.0.1:${sidecar.adminPort}/readyz`).catch(() => undefined))?.text() ?? ''
      await until(`${sidecar.config.instance} says why at /readyz`, async () => why.test(await page()), 30_000).catch(
        async (error: unknown) => {
          throw new Error(
            `${(error as Error).message}\n${await page()}\n${sidecar.process.lines.slice(-20).join('\n')}`,
          )
        },
      )
      assert.equal(await route.status(sidecar, '/readyz'), 503)
      const log = sidecar.process.lines.join('\n')
      assert.match(log, why)
      const told = `${log}${await page()}${readFileSync(sidecar.configFile, 'utf8')}`
      assert.ok(!told.includes(PASSWORD) && !told.includes('another-password'))
    }
  }

  await t.test('carries calls', async (part) => {
    const route = await startRoute(part, { brokers: kafka.brokers, kafka: byScram(scram, files), method: PATIENT })
    assert.equal((await route.call({ id: 'one', reply: 'yes' })).reply?.toString(), 'yes')
  })

  await t.test('a wrong password is told, and once it is right the sidecars get ready by themselves', async (part) => {
    const passwordFile = join(files.directory, 'wrong-password')
    writeFileSync(passwordFile, 'another-password')
    const route = await unready(part, byScram(scram, { ...files, passwordFile }))
    await assertSays(route, /invalid credentials/)
    writeFileSync(passwordFile, PASSWORD)
    for (const sidecar of sidecars(route)) await route.ready(sidecar)
    assert.equal((await route.call({ id: 'one' })).code, 0)
  })

  await t.test('an authority that did not sign is told, and once it is right the sidecars get ready', async (part) => {
    const caFile = join(files.directory, 'wrong-ca')
    const stranger = await makeAuthority(files.directory, 'stranger')
    copyFileSync(stranger.certFile, caFile)
    const route = await unready(part, byScram(scram, { ...files, caFile }))
    await assertSays(route, /unable to verify|certificate/)
    copyFileSync(files.authority.certFile, caFile)
    for (const sidecar of sidecars(route)) await route.ready(sidecar)
    assert.equal((await route.call({ id: 'one' })).code, 0)
  })

  await t.test('a name that is not in the certificate is told', async (part) => {
    const input = byScram(scram, files)
    const route = await unready(part, { ...input, tls: { ...input.tls, serverName: 'kafka.example.org' } })
    await assertSays(route, /does not match certificate's altnames/)
  })

  await t.test('a client certificate is enough where the broker asks for one', async (part) => {
    const { caFile, client } = files
    const input = { brokers: [...mutual], tls: { caFile, certFile: client.certFile, keyFile: client.keyFile } }
    const route = await startRoute(part, { brokers: kafka.brokers, kafka: input, method: PATIENT })
    assert.equal((await route.call({ id: 'one' })).code, 0)
  })

  await t.test('a client certificate that is missing is told', async (part) => {
    const route = await unready(part, { brokers: [...mutual], tls: { caFile: files.caFile } })
    await assertSays(route, /alert (bad certificate|certificate required)/)
  })
})
