import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { signIn, socketFactory } from '../../../../sidecar/kafka/connection.ts'
import { Secret, SecretError } from '../../../../sidecar/secret.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { TlsError } from '../../../../sidecar/tls.ts'

const logger = pino({ level: 'silent' })

describe('signing in', () => {
  test('reads the password each time, as it is then', () => {
    const environment: Record<string, string> = { P: 'first' }
    const options = signIn({ mechanism: 'PLAIN', username: 'team', password: new Secret({ env: 'P' }, environment) })
    const passwordNow = (): unknown => Reflect.get(options, 'password')
    assert.equal(passwordNow(), 'first')
    environment['P'] = 'second'
    assert.equal(passwordNow(), 'second')
    delete environment['P']
    assert.throws(passwordNow, SecretError)
  })

  for (const [mechanism, name] of [
    ['PLAIN', 'plain'],
    ['SCRAM-SHA-256', 'scram-sha-256'],
    ['SCRAM-SHA-512', 'scram-sha-512'],
  ] as const) {
    test(`with ${mechanism} is what kafkajs calls ${name}`, () => {
      const password = new Secret({ env: 'P' }, {})
      assert.equal(signIn({ mechanism, username: 'team', password }).mechanism, name)
    })
  }
})

describe('a connection', () => {
  test('is counted when it is begun', async (t) => {
    const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1')
    t.after(() => server.close())
    await once(server, 'listening')
    const metrics = new Metrics()
    const connect = socketFactory(undefined, logger, metrics.counter('grpc_kafka_broker_connections_total'))
    const { port } = server.address() as AddressInfo
    await new Promise<void>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port, ssl: null as never, onConnect: resolve })
      t.after(() => socket.destroy())
    })
    assert.match(await metrics.expose(), /^grpc_kafka_broker_connections_total 1$/m)
  })

  test('is not made with certificates that cannot be read', () => {
    assert.throws(() => socketFactory({ caFile: '/nowhere/ca.pem' }, logger), TlsError)
  })
})
