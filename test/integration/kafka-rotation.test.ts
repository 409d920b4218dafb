/** Passwords, authorities and certificates that are replaced while sidecars use them. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { makeAuthority, makeCertificate } from './support/certificates.ts'
import { changePassword } from './support/kafka-password.ts'
import { Load, assertAllAnswered, slowest } from './support/load.ts'
import { ownSecuredKafka } from './support/own.ts'
import { startRoute, until } from './support/route.ts'
import { USER, byScram, keyStore } from './support/secured-kafka.ts'

/** How long a broker takes to come back is the machine's affair. */
const DEADLINE_MILLISECONDS = 120_000
const GO_ON_MILLISECONDS = 90_000
/** kafkajs signs in again from ten seconds before the end on. */
const SIGN_IN_MILLISECONDS = 12_000

const goOn = (load: Load): Promise<void> => load.goOn(30, GO_ON_MILLISECONDS)

async function assertAll(t: TestContext, load: Load): Promise<void> {
  const answers = await load.stop()
  t.diagnostic(`${answers.length} calls, slowest ${slowest(answers)} ms`)
  assertAllAnswered(answers)
}

test('a Kafka whose secrets are rotated', async (t) => {
  const { kafka, files } = await ownSecuredKafka(t, { signInMilliseconds: SIGN_IN_MILLISECONDS })
  const options = { brokers: kafka.brokers, method: { timeoutMilliseconds: DEADLINE_MILLISECONDS } }

  await t.test('a password is replaced under load: every call is answered', async (part) => {
    const route = await startRoute(part, { ...options, kafka: byScram(kafka.listeners['SCRAM'] ?? [], files) })
    const load = new Load(route, { perSecond: 30, deadline: DEADLINE_MILLISECONDS })
    await goOn(load)
    await changePassword(kafka.brokers, USER, 'the-next-password')
    writeFileSync(files.passwordFile, 'the-next-password')
    const changed = performance.now()
    const over = () => performance.now() - changed > SIGN_IN_MILLISECONDS
    await until('every sign-in from before the change is over', over, 2 * SIGN_IN_MILLISECONDS)
    await goOn(load)
    await assertAll(part, load)
  })

  await t.test(
    'authority and certificates of both sides are replaced under load: every call is answered',
    async (part) => {
      const { authority, client, caFile, trustStore, directory } = files
      const own = { certFile: join(directory, 'own.crt'), keyFile: join(directory, 'own.key') }
      copyFileSync(client.certFile, own.certFile)
      copyFileSync(client.keyFile, own.keyFile)
      const brokers = [...(kafka.listeners['MUTUAL'] ?? [])]
      const route = await startRoute(part, { ...options, kafka: { brokers, tls: { caFile, ...own } } })
      const load = new Load(route, { perSecond: 30, deadline: DEADLINE_MILLISECONDS })
      await goOn(load)

      const next = await makeAuthority(directory, 'next-authority')
      const [nextBroker, nextClient] = await Promise.all([
        makeCertificate(directory, 'next-broker', next),
        makeCertificate(directory, 'next-client', next),
      ])
      const both = [authority, next].map(({ certFile }) => readFileSync(certFile, 'utf8')).join('')
      for (const file of [caFile, trustStore]) writeFileSync(file, both)
      // The earlier key beside it does not fit: the pair that did is used.
      copyFileSync(nextClient.certFile, own.certFile)
      keyStore(files.keyStore, nextBroker)
      await kafka.stop()
      await kafka.start()
      await goOn(load)

      copyFileSync(nextClient.keyFile, own.keyFile)
      for (const file of [caFile, trustStore]) copyFileSync(next.certFile, file)
      await kafka.stop()
      await kafka.start()
      await goOn(load)
      await assertAll(part, load)
    },
  )
})
