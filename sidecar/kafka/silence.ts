/**
 * Ends the connections to a broker that left a request without an answer until its time was over. kafkajs 2.2.4 keeps them and
 * goes on asking there, for metadata too: each time as long a wait, for as long as the broker is silent and its machine answers.
 */
import { createRequire } from 'node:module'
import type { ClusterBroker } from './cluster.ts'

type ConnectionPool = ClusterBroker['connectionPool']

interface SendingPool extends ConnectionPool {
  send(request: { readonly request: { readonly apiKey: number } }): Promise<unknown>
}

const require = createRequire(import.meta.url)
const { KafkaJSConnectionClosedError, KafkaJSConnectionError } = require('kafkajs/src/errors') as {
  KafkaJSConnectionClosedError: new (message: string, address: { host: string; port: number }) => Error
  KafkaJSConnectionError: new (message: string, details: { broker: string }) => Error
}

/** The first request on every connection. */
const API_VERSIONS = 18
const LENGTH_BYTES = 4

/** Whether a request had no answer in time. */
export const isSilence = (error: unknown): boolean => (error as Error).name === 'KafkaJSRequestTimeoutError'

/** What waits on these connections fails with the error that is returned; the next request makes a new one. */
export function endConnections({ host, port, pool }: ConnectionPool): Error {
  const error = new KafkaJSConnectionClosedError('Closed a connection on which a request was not answered', {
    host,
    port,
  })
  for (const connection of pool) {
    if (!connection.isConnected()) continue
    connection.rejectRequests(error)
    // The half of a reply that came is none of the next connection's.
    Object.assign(connection, { chunks: [], bytesBuffered: 0, bytesNeeded: LENGTH_BYTES })
    void connection.disconnect()
    connection.socket?.destroy()
  }
  return error
}

let installed = false

/** For the requests that kafkajs sends by itself. */
export function endSilentConnections(): void {
  if (installed) return
  installed = true
  const { prototype } = require('kafkajs/src/network/connectionPool') as { readonly prototype: SendingPool }
  const original: SendingPool['send'] = Reflect.get(prototype, 'send')
  prototype.send = async function (this: SendingPool, request) {
    try {
      return await original.call(this, request)
    } catch (error) {
      if (!isSilence(error)) throw error
      endConnections(this)
      // kafkajs goes on to the next of the brokers that it was given only where it could not connect.
      if (request.request.apiKey === API_VERSIONS) {
        throw new KafkaJSConnectionError('it took the connection and does not answer', {
          broker: `${this.host}:${this.port}`,
        })
      }
      throw error
    }
  }
}
