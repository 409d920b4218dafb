/**
 * Lets kafkajs' consumer fetch with our own reading and writing of the request: kafkajs 2.2.4 makes a decoder and several
 * promises for each batch, record and header. The method of its brokers that sends Fetch requests is replaced.
 */
import { createRequire } from 'node:module'
import { exchange, requestHeaderBytes } from './cluster.ts'
import type { ClusterBroker } from './cluster.ts'
import { FETCH, FETCH_VERSION, decodeFetchReply, encodeFetch } from './fetch-request.ts'
import type { FetchReply, FetchRequest } from './fetch-request.ts'
import { endConnections, isSilence } from './silence.ts'

/** Of the two connections that kafkajs keeps to a broker. */
const CONNECTION = 1

interface FetchingBroker extends ClusterBroker {
  fetch(request: FetchRequest): Promise<FetchReply>
}
interface ReplyOfVersion11 {
  decode(bytes: Buffer): Promise<FetchReply>
  /** @throws the error that a partition has. */
  parse(reply: FetchReply): Promise<FetchReply>
}

let installed = false
let turn = 0

export function fetchInOnePass(): void {
  if (installed) return
  installed = true
  const require = createRequire(import.meta.url)
  const { prototype } = require('kafkajs/src/broker') as { readonly prototype: FetchingBroker }
  const standard = require('kafkajs/src/protocol/requests/fetch/v11/response') as ReplyOfVersion11
  const original: (this: FetchingBroker, request: FetchRequest) => Promise<FetchReply> = Reflect.get(prototype, 'fetch')
  prototype.fetch = async function (this: FetchingBroker, request) {
    if ((this.versions?.[FETCH]?.maxVersion ?? 0) < FETCH_VERSION) return original.call(this, request)
    // The calls to the handler that the last reply began are flushed at the end of this turn, and nobody waits for this.
    await new Promise(setImmediate)
    try {
      const connection = await this.connectionPool.getConnection(CONNECTION)
      const reply = await exchange(
        connection,
        { apiKey: FETCH, apiName: 'Fetch', apiVersion: FETCH_VERSION },
        encodeFetch(request, requestHeaderBytes(connection), turn++),
        () => undefined,
      )
      const decoded = decodeFetchReply(reply) ?? (await standard.decode(reply))
      connection.requestQueue.maybeThrottle(decoded.clientSideThrottleTime)
      return await standard.parse(decoded)
    } catch (error) {
      // kafkajs' consumer asks for leaders again when a connection ended, and gives up when there was no answer.
      if (isSilence(error)) throw endConnections(this.connectionPool)
      if ((error as Error).name === 'KafkaJSConnectionClosedError') await this.disconnect()
      throw error
    }
  }
}
