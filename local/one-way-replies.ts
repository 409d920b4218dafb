import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader'
import type { CalculateService } from '../crds/types.ts'

/**
 * What callers of one-way methods read though it was never said: a reply that has fields is to them one that has none set.
 *
 * @param descriptors  a serialized FileDescriptorSet
 * @returns a line for each such method; a service that is not described has none
 */
export function oneWayReplyWarnings(descriptors: Buffer, services: readonly CalculateService[]): string[] {
  const described = loadFileDescriptorSetFromBuffer(descriptors)
  return services.flatMap(({ metadata, spec }) => {
    const service = described[spec.service] as Described | undefined
    return spec.methods.flatMap(({ name, delivery }) => {
      const reply = delivery === 'OneWay' ? service?.[name]?.responseType?.type : undefined
      if (reply === undefined || reply.field.length === 0) return []
      return [
        `CalculateService ${metadata.name}: spec.methods: ${name} is OneWay and its reply ${reply.name} is not google.protobuf.Empty: callers read one with nothing in it`,
      ]
    })
  })
}

/** What proto-loader tells of a service, as far as it is read here. */
type Described = Readonly<
  Record<
    string,
    | { readonly responseType?: { readonly type: { readonly name: string; readonly field: readonly unknown[] } } }
    | undefined
  >
>
