import { readFileSync } from 'node:fs'
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader'
import { ReflectionService } from '@grpc/reflection'
import { ConfigError } from '../config.ts'

/**
 * Server reflection from a FileDescriptorSet.
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
  let definition: ReturnType<typeof loadFileDescriptorSetFromBuffer>
  try {
    definition = loadFileDescriptorSetFromBuffer(bytes)
  } catch (cause) {
    throw problem('is not a FileDescriptorSet', { cause })
  }
  if (!(service in definition)) throw problem(`does not describe ${service}`)
  return new ReflectionService(definition, { services: [service] })
}
