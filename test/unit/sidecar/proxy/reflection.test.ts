import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { Client, Server, ServerCredentials, credentials } from '@grpc/grpc-js'
import protobuf from 'protobufjs'
import type { IFileDescriptorProto, IFileDescriptorSet } from 'protobufjs/ext/descriptor/index.js'
import descriptor from 'protobufjs/ext/descriptor/index.js'
import { loadReflection } from '../../../../sidecar/proxy/reflection.ts'

const SOURCE = `
  syntax = "proto3";
  package shop;
  message Order { string id = 1; }
  service Orders { rpc Place(Order) returns (Order); }
  service Hidden { rpc Place(Order) returns (Order); }
`

async function asking(t: TestContext, ...sources: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), 'reflection-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'set.bin')
  const root = new protobuf.Root()
  for (const source of sources) protobuf.parse(source, root, { keepCase: true })
  root.resolveAll()
  const set = (root as unknown as { toDescriptor(syntax: string): IFileDescriptorSet }).toDescriptor('proto3')
  writeFileSync(file, descriptor.FileDescriptorSet.encode(set).finish())

  const server = new Server()
  loadReflection(file, 'shop.Orders').addToServer(server)
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  t.after(() => server.forceShutdown())
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
  t.after(() => client.close())

  const raw = (bytes: Buffer): Buffer => bytes
  return (tag: number, text: string) =>
    new Promise<Buffer>((resolve, reject) => {
      const stream = client.makeBidiStreamRequest('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', raw, raw)
      stream.on('data', (bytes: Buffer) => {
        resolve(bytes)
        stream.end()
      })
      stream.on('error', reject)
      stream.write(Buffer.concat([Buffer.from([tag, text.length]), Buffer.from(text)]))
    })
}

// Of ServerReflectionRequest.
const FILE_BY_FILENAME = 0x1a
const FILE_CONTAINING_SYMBOL = 0x22
const LIST_SERVICES = 0x3a

// ServerReflectionResponse { FileDescriptorResponse file_descriptor_response = 4 { repeated bytes file_descriptor_proto = 1 } }
const RESPONSE = protobuf
  .parse(
    `syntax = "proto3";
  message Files { repeated bytes file = 1; }
  message Response { Files files = 4; }`,
  )
  .root.lookupType('Response')

type DescribedFile = Omit<IFileDescriptorProto, 'dependency'> & { readonly dependency?: readonly string[] }

function filesIn(bytes: Buffer) {
  const { files } = RESPONSE.decode(bytes) as unknown as { readonly files: { readonly file: readonly Uint8Array[] } }
  return files.file.map((file) => descriptor.FileDescriptorProto.decode(file) as DescribedFile)
}

test('reflection lists the service of the descriptor set and that of results, and no other of the same file', async (t) => {
  const ask = await asking(t, SOURCE)
  const answer = (await ask(LIST_SERVICES, '*')).toString('latin1')
  assert.match(answer, /shop\.Orders/)
  assert.match(answer, /grpckafka\.v1\.Calls/)
  assert.doesNotMatch(answer, /shop\.Hidden/)
})

test('reflection tells all that the service of results imports, whatever else of it the descriptor set has', async (t) => {
  const ask = await asking(
    t,
    `syntax = "proto3"; package google.protobuf; message Timestamp { int64 seconds = 1; }`,
    SOURCE.replace('string id = 1;', 'google.protobuf.Timestamp at = 1;'),
  )
  const [calls] = filesIn(await ask(FILE_CONTAINING_SYMBOL, 'grpckafka.v1.Calls'))
  assert.equal(calls?.package, 'grpckafka.v1')
  const messages = []
  for (const name of calls.dependency ?? [])
    for (const file of filesIn(await ask(FILE_BY_FILENAME, name)))
      messages.push(...(file.messageType ?? []).map((message) => `${file.package}.${message.name}`))
  assert.deepEqual(messages.sort(), ['google.protobuf.Any', 'google.protobuf.Duration'])
  const own = filesIn(await ask(FILE_CONTAINING_SYMBOL, 'google.protobuf.Timestamp'))
  assert.deepEqual(
    own.map(({ name }) => name),
    ['google_protobuf.proto'],
  )
})
