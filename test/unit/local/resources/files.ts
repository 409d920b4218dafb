import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'

/** A folder with these files, removed after the test. */
export async function folder(context: TestContext, files: Readonly<Record<string, string>>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'grpc-kafka-unit-'))
  context.after(() => rm(directory, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true })
    await writeFile(join(directory, name), text)
  }
  return directory
}

export const service = (name: string, more = ''): string => `apiVersion: grpckafka.dev/v1alpha1
kind: CalculateService
metadata: { name: ${name} }
spec:
  service: shop.Orders
  kafka: { bootstrapServers: ['kafka:9092'] }
  redis: { url: 'redis://redis:6379' }
  topic: { name: ${name} }
  methods: [{ name: Place }]
${more}`

export const group = (name: string, serviceName: string, more = ''): string => `apiVersion: grpckafka.dev/v1alpha1
kind: ConsumerGroup
metadata: { name: ${name} }
spec:
  calculateServiceRef: { name: ${serviceName} }
  groupId: ${name}
  handler: { port: 50051 }
  template: { spec: { containers: [{ name: handler, image: i, command: [server] }] } }
${more}`
