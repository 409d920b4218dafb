import { dirname } from 'node:path'
import { loadSync } from '@grpc/proto-loader'
import { ResourcesError } from './resources/origin.ts'

const FILE_FIELD = 0x0a

/**
 * The given *.proto files, and what they import, as a serialized google.protobuf.FileDescriptorSet.
 * @throws ResourcesError for a file that cannot be read or parsed
 */
export function descriptorSet(protoFiles: readonly string[]): Buffer {
  const files = new Map<string, Buffer>()
  try {
    const loaded = loadSync([...protoFiles], { includeDirs: [...new Set(protoFiles.map((file) => dirname(file)))] })
    for (const definition of Object.values(loaded)) {
      // Messages and enums carry the descriptors of all files; a service is found among them.
      const { fileDescriptorProtos } = definition as { readonly fileDescriptorProtos?: readonly Buffer[] }
      for (const file of fileDescriptorProtos ?? []) files.set(file.toString('base64'), file)
    }
  } catch (cause) {
    throw new ResourcesError([`${protoFiles.join(', ')}: ${(cause as Error).message}`], { cause })
  }
  return Buffer.concat([...files.values()].flatMap((file) => [Buffer.from([FILE_FIELD]), varint(file.length), file]))
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) + 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}
