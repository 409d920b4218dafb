import { readFileSync } from 'node:fs'
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader'
import type { AnyDefinition, EnumTypeDefinition, MessageTypeDefinition, PackageDefinition } from '@grpc/proto-loader'
import { ReflectionService } from '@grpc/reflection'
import { ConfigError } from '../config.ts'
import { CALLS_PROTO, CALLS_SERVICE } from './calls-service.ts'

/**
 * Server reflection from a FileDescriptorSet, and of grpckafka.v1.Calls.
 * @throws ConfigError when the file cannot be read, is something else, or does not describe the service.
 */
export function loadReflection(file: string, service: string): ReflectionService {
  const problem = (text: string, options?: ErrorOptions) =>
    new ConfigError([`proxy.descriptorSetFile: ${file} ${text}`], options)
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (cause) {
    throw problem(`cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'})`, { cause })
  }
  let definition: PackageDefinition
  try {
    definition = loadFileDescriptorSetFromBuffer(bytes)
  } catch (cause) {
    throw problem('is not a FileDescriptorSet', { cause })
  }
  if (!(service in definition)) throw problem(`does not describe ${service}`)
  // In this order: what both describe is found in the user's own files.
  return new ReflectionService({ ...besideOthers(CALLS_PROTO), ...definition }, { services: [service, CALLS_SERVICE] })
}

/** How proto-loader names the file of google.protobuf, which may be one of the user's, too, with other parts of it. */
const STANDARD_FILE = 'google_protobuf.proto'
const OWN_STANDARD_FILE = 'grpckafka_v1_google_protobuf.proto'
const NAME_TAG = 0x0a
const DEPENDENCY_TAG = 0x1a

/** Of each name one file is served; and clients ask for what a file imports, which proto-loader leaves out. */
function besideOthers(definition: PackageDefinition): PackageDefinition {
  const others = { ...definition }
  for (const [name, one] of Object.entries(definition)) {
    if (describesFiles(one)) others[name] = { ...one, fileDescriptorProtos: one.fileDescriptorProtos.map(besideFile) }
  }
  return others
}

const describesFiles = (one: AnyDefinition): one is MessageTypeDefinition<object, object> | EnumTypeDefinition =>
  Array.isArray(one['fileDescriptorProtos'])

function besideFile(file: Buffer): Buffer {
  const standard = field(NAME_TAG, STANDARD_FILE)
  return file.subarray(0, standard.length).equals(standard)
    ? Buffer.concat([field(NAME_TAG, OWN_STANDARD_FILE), file.subarray(standard.length)])
    : Buffer.concat([file, field(DEPENDENCY_TAG, OWN_STANDARD_FILE)])
}

const field = (tag: number, text: string): Buffer => Buffer.concat([Buffer.from([tag, text.length]), Buffer.from(text)])
