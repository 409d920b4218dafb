/** How a connection to a broker is made: what kafkajs is given for each one. */
import net from 'node:net'
import tls from 'node:tls'
import type { ISocketFactory, SASLOptions } from 'kafkajs'
import type { KafkaConfig } from '../config.ts'
import type { Logger } from '../telemetry/log.ts'
import type { Counter } from '../telemetry/metrics.ts'
import { TlsFiles } from '../tls.ts'
import type { TlsConfig } from '../tls.ts'

const KEEP_ALIVE_MILLISECONDS = 60_000

/**
 * Nagle's algorithm holds small requests back for the peer's delayed acknowledgement: 0.1 ms on every call. Certificates
 * are read anew for each connection, so that they can be rotated; kafkajs itself would keep those of the start.
 *
 * @param connections counts those that are begun.
 * @throws TlsError when the files cannot be used.
 */
export function socketFactory(config: TlsConfig | undefined, logger: Logger, connections?: Counter): ISocketFactory {
  const connect = config === undefined ? plain : encrypted(config, logger)
  return (target) => {
    connections?.inc()
    return connect(target)
  }
}

const plain: ISocketFactory = ({ host, port, onConnect }) =>
  net.connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MILLISECONDS }, onConnect)

function encrypted(config: TlsConfig, logger: Logger): ISocketFactory {
  const files = new TlsFiles(config, (problem) =>
    logger.warn({ reason: problem }, 'the certificates for Kafka cannot be read; the earlier ones are used'),
  )
  return ({ host, port, onConnect }) => {
    const name = net.isIP(host) === 0 ? { servername: host } : {}
    // Verified whatever the environment says.
    const socket = tls.connect({ host, port, ...name, ...files.read(), rejectUnauthorized: true }, onConnect)
    return socket.setNoDelay().setKeepAlive(true, KEEP_ALIVE_MILLISECONDS)
  }
}

/** kafkajs asks for these when a connection signs in. */
export function signIn({ mechanism, username, password }: NonNullable<KafkaConfig['sasl']>): SASLOptions {
  return {
    mechanism: MECHANISMS[mechanism],
    username,
    get password() {
      return password.read()
    },
  }
}

const MECHANISMS = {
  PLAIN: 'plain',
  'SCRAM-SHA-256': 'scram-sha-256',
  'SCRAM-SHA-512': 'scram-sha-512',
} as const
