import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader'
import type { MessageTypeDefinition } from '@grpc/proto-loader'

/** Of requests: as protobuf's JSON mapping has them, but for well-known types, which are told field by field. */
export class MessageJson {
  readonly #decoders = new Map<string, (bytes: Buffer) => object>()

  /**
   * @param descriptorSet a serialized google.protobuf.FileDescriptorSet.
   * @throws when it is none.
   */
  constructor(descriptorSet: Buffer) {
    const definitions = loadFileDescriptorSetFromBuffer(descriptorSet, {
      longs: String,
      enums: String,
      bytes: String,
      json: true,
    })
    for (const [service, definition] of Object.entries(definitions)) {
      if ('format' in definition) continue
      for (const [name, { requestType, requestDeserialize }] of Object.entries(definition)) {
        if (isMessage(requestType)) this.#decoders.set(`${service}/${name}`, requestDeserialize)
      }
    }
  }

  /** @returns undefined for a method that is not in the set, and for bytes that are no request of it. */
  request(method: string, message: Buffer): unknown {
    try {
      return this.#decoders.get(method)?.(message)
    } catch {
      return undefined
    }
  }
}

const isMessage = (type: unknown): type is MessageTypeDefinition<object, object> => typeof type === 'object'
