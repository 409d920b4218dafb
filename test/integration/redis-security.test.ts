/** Redis over mutual TLS, as an ACL user with the documented list: what is rotated, and what is wrong. */
import assert from 'node:assert/strict'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { freePort } from '../../local/platform/free-port.ts'
import { startRedis } from '../../local/platform/redis.ts'
import type { RedisConfig } from '../../sidecar/config.ts'
import { connectRedis } from '../../sidecar/results/redis.ts'
import { Secret } from '../../sidecar/secret.ts'
import { createLogger } from '../../sidecar/telemetry/log.ts'
import { Metrics } from '../../sidecar/telemetry/metrics.ts'
import { makeAuthority, makeCertificate } from './support/certificates.ts'
import { atEnd } from './support/clean-up.ts'
import { outcomeTraffic } from './support/outcome-traffic.ts'
import { temporaryDirectory } from './support/own.ts'
import { documentedAcl } from './support/redis-acl.ts'
import { adminOf } from './support/redis-topologies.ts'
import { until } from './support/route.ts'

const USER = 'team'
const PASSWORD = 'correct-horse-battery'

test('Redis over mutual TLS, as an ACL user', async (t) => {
  const directory = temporaryDirectory(t)
  const old = await makeAuthority(directory, 'old-authority')
  const server = await makeCertificate(directory, 'server', old)
  const client = await makeCertificate(directory, 'client', old)
  const port = await freePort()
  const redis = await startRedis({
    directory: join(directory, 'redis'),
    args: [
      ['--tls-port', String(port), '--tls-auth-clients', 'yes', '--tls-ca-cert-file', old.certFile],
      ['--tls-cert-file', server.certFile, '--tls-key-file', server.keyFile],
    ].flat(),
    report: () => undefined,
  })
  atEnd(t, () => redis.stop())
  const admin = adminOf(t, redis.url)
  await admin.call('ACL', 'SETUSER', USER, 'on', `>${PASSWORD}`, '-@all', ...documentedAcl('acl'))
  const cutAll = () => admin.call('CLIENT', 'KILL', 'USER', USER)

  const files = { ca: join(directory, 'ca'), cert: join(directory, 'cert'), key: join(directory, 'key') }
  const passwordFile = join(directory, 'password')
  copyFileSync(old.certFile, files.ca)
  copyFileSync(client.certFile, files.cert)
  copyFileSync(client.keyFile, files.key)
  writeFileSync(passwordFile, `${PASSWORD}\n`)
  const config: RedisConfig = {
    url: `redis://127.0.0.1:${port}`,
    username: USER,
    password: new Secret({ file: passwordFile }, {}),
    tls: { caFile: files.ca, certFile: files.cert, keyFile: files.key },
    commandTimeoutMilliseconds: 5000,
  }

  /** What a connection that cannot be made says, and all that it logs. */
  const troubleOf = async (part: TestContext, wrong: Partial<RedisConfig>, expected: RegExp): Promise<string> => {
    const logged: unknown[] = []
    const logger = createLogger('silent', {})
    logger.warn = (...args: unknown[]) => void logged.push(args)
    const one = connectRedis({ config: { ...config, ...wrong }, name: 'wrong', logger, metrics: new Metrics() })
    atEnd(part, () => one.disconnect())
    await until(`it says ${expected.source}`, () => expected.test(one.problem) && logged.length > 0)
    assert.equal(one.ready, false)
    return one.problem + JSON.stringify(logged)
  }

  await t.test('with a wrong password is not ready and says why, without the password', async (part) => {
    const text = await troubleOf(part, { password: new Secret({ env: 'P' }, { P: 'not-the-password' }) }, /^WRONGPASS/)
    assert.equal(text.includes('not-the-password'), false)
  })

  await t.test('with an authority that did not sign the certificate is not ready and says why', async (part) => {
    const other = await makeAuthority(directory, 'other-authority')
    await troubleOf(part, { tls: { ...config.tls, caFile: other.certFile } }, /certificate/)
  })

  await t.test('with another name in the certificate is not ready and says why', async (part) => {
    await troubleOf(part, { tls: { ...config.tls, serverName: 'redis.example' } }, /does not match certificate/)
  })

  await t.test('goes on while password, authority and certificates are rotated', async (part) => {
    const { goesOn, end, counts } = await outcomeTraffic(part, config)
    await admin.call('ACL', 'SETUSER', USER, '>another-one')
    writeFileSync(passwordFile, 'another-one\n')
    await admin.call('ACL', 'SETUSER', USER, `<${PASSWORD}`)
    await cutAll()
    await goesOn()

    const next = await makeAuthority(directory, 'next-authority')
    const nextServer = await makeCertificate(directory, 'next-server', next)
    const nextClient = await makeCertificate(directory, 'next-client', next)
    // The server has the earlier certificate still.
    writeFileSync(files.ca, [old.certFile, next.certFile].map((file) => readFileSync(file, 'utf8')).join('\n'))
    // A certificate whose key is not there yet: the last that fitted is used.
    copyFileSync(nextClient.certFile, files.cert)
    await cutAll()
    await goesOn()
    copyFileSync(nextClient.keyFile, files.key)
    await admin.call(
      'CONFIG',
      'SET',
      'tls-ca-cert-file',
      next.certFile,
      'tls-cert-file',
      nextServer.certFile,
      'tls-key-file',
      nextServer.keyFile,
    )
    copyFileSync(next.certFile, files.ca)
    await cutAll()
    await goesOn()
    await end()
    part.diagnostic(`${counts.sent} outcomes`)
  })
})
