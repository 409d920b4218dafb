/**
 * What of the inside of kafkajs 2.2.4 is used: its cluster, which knows brokers and leaders and makes connections with their
 * TLS and SASL, and one request over such a connection without kafkajs' encoders, of which each request pays for dozens of
 * small buffers, copies and promises.
 */
import kafkajs from 'kafkajs'
import type { Kafka } from 'kafkajs'

/** A connection to a broker. */
export interface Connection {
  readonly clientId: string
  /** Missing before the first connect. */
  readonly socket?: { write(bytes: Buffer): unknown; destroy(): unknown }
  readonly sasl: object | null | undefined
  readonly requestQueue: {
    push(request: PushedRequest): void
    /** @param milliseconds that the broker asks to be left alone. */
    maybeThrottle(milliseconds: number): void
  }
  /** `connected`, or what is on the way to it or from it. */
  readonly connectionStatus: string
  /** Also while it is being ended: see `isOpen`. */
  isConnected(): boolean
  isAuthenticated(): boolean
  authenticate(): Promise<void>
  nextCorrelationId(): number
  rejectRequests(error: Error): void
  /** Waits for the requests that have no answer yet. */
  disconnect(): Promise<unknown>
}

interface PushedRequest {
  readonly entry: {
    readonly apiKey: number
    readonly apiName: string
    readonly apiVersion: number
    readonly correlationId: number
    resolve(reply: { readonly payload: Buffer }): void
    reject(error: Error): void
  }
  readonly expectResponse: true
  /** Null: kafkajs' own. */
  readonly requestTimeout: null
  sendRequest(): void
}

export interface ClusterBroker {
  readonly connectionPool: {
    readonly host: string
    readonly port: number
    /** The first is for everything but fetches, the second for fetches. */
    readonly pool: readonly Connection[]
    getConnection(index: number): Promise<Connection>
  }
  /** By API key; null before the first connection. */
  readonly versions: Readonly<Record<number, { readonly maxVersion: number } | undefined>> | null
  isConnected(): boolean
  disconnect(): Promise<void>
}

export interface PartitionMetadata {
  readonly partitionId: number
  /** Node id; -1: none. */
  readonly leader: number
}

export interface Cluster {
  readonly brokerPool: {
    /** Connected when the cluster is. */
    readonly seedBroker: {
      findGroupCoordinator(request: { readonly groupId: string; readonly coordinatorType: number }): Promise<unknown>
    }
    readonly brokers: Readonly<Record<number, ClusterBroker | undefined>>
    readonly metadata: object | null
    /** Milliseconds since 1970; null: at once. */
    readonly metadataExpireAt: number | null
  }
  isConnected(): boolean
  connect(): Promise<void>
  disconnect(): Promise<void>
  addMultipleTargetTopics(topics: readonly string[]): Promise<void>
  refreshMetadata(): Promise<void>
  findTopicPartitionMetadata(topic: string): readonly PartitionMetadata[]
  /** @throws when it cannot be connected. */
  findBroker(options: { readonly nodeId: number }): Promise<ClusterBroker>
  /** @throws when it cannot be connected, or is not known. */
  findControllerBroker(): Promise<ClusterBroker>
  removeBroker(address: { readonly host: string; readonly port: number }): void
}

const CREATE_CLUSTER = 'private:Kafka:createCluster'
const METADATA_AGE_MILLISECONDS = 300_000

/** A cluster as kafkajs' own producer gets one: nothing is created by asking for it. */
export function createCluster(kafka: Kafka): Cluster {
  const symbol = Object.getOwnPropertySymbols(kafka).find(({ description }) => description === CREATE_CLUSTER)
  if (symbol === undefined) throw new Error('this kafkajs makes no clusters')
  const create = (kafka as unknown as Record<symbol, (options: object) => Cluster>)[symbol]!
  return create({ metadataMaxAge: METADATA_AGE_MILLISECONDS, allowAutoTopicCreation: false })
}

export interface Api {
  readonly apiKey: number
  readonly apiName: string
  readonly apiVersion: number
}

/** kafkajs' own answer says yes of a connection that is being ended too, on which a request may stay without an answer for ever. */
export const isOpen = ({ connectionStatus }: Connection): boolean => connectionStatus === 'connected'

/** Bytes of a request's header, which `exchange` writes: size, API, version, correlation, client. */
export const requestHeaderBytes = ({ clientId }: Connection): number => 14 + Buffer.byteLength(clientId)

/**
 * Sends a request and waits for its reply. On a connection that is signed in it is written before this returns, unless the
 * broker asked for a pause.
 *
 * @param bytes the whole request; its first `requestHeaderBytes` are filled in here.
 * @param onSent called when it is written: from then on the broker may have it.
 * @returns the reply after its correlation id.
 * @throws kafkajs' errors of connection and timeout.
 */
export async function exchange(
  connection: Connection,
  { apiKey, apiName, apiVersion }: Api,
  bytes: Buffer,
  onSent: () => void,
): Promise<Buffer> {
  if (connection.sasl != null && !connection.isAuthenticated()) await connection.authenticate()
  if (!isOpen(connection)) throw new kafkajs.KafkaJSConnectionError('Not connected')
  const correlationId = connection.nextCorrelationId()
  bytes.writeInt32BE(bytes.length - 4, 0)
  bytes.writeInt16BE(apiKey, 4)
  bytes.writeInt16BE(apiVersion, 6)
  bytes.writeInt32BE(correlationId, 8)
  bytes.writeInt16BE(requestHeaderBytes(connection) - 14, 12)
  bytes.write(connection.clientId, 14)
  return new Promise((resolve, reject) => {
    connection.requestQueue.push({
      entry: { apiKey, apiName, apiVersion, correlationId, resolve: ({ payload }) => resolve(payload), reject },
      expectResponse: true,
      requestTimeout: null,
      sendRequest: () => {
        onSent()
        connection.socket?.write(bytes)
      },
    })
  })
}
