import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Client, Server, ServerCredentials, credentials } from '@grpc/grpc-js'
import protobuf from 'protobufjs'
import type { IFileDescriptorSet } from 'protobufjs/ext/descriptor/index.js'
import descriptor from 'protobufjs/ext/descriptor/index.js'
import { loadReflection } from '../../../../sidecar/proxy/reflection.ts'

const SOURCE = `
  syntax = "proto3";
  package shop;
  message Order { string id = 1; }
  service Orders { rpc Place(Order) returns (Order); }
  service Hidden { rpc Place(Order) returns (Order); }
`

test('reflection lists the service of the descriptor set, and no other of the same file', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'reflection-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'set.bin')
  const { root } = protobuf.parse(SOURCE, { keepCase: true })
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
  // ServerReflectionRequest { string list_services = 7 }; the answer names services in plain text.
  const answer = await new Promise<Buffer>((resolve, reject) => {
    const stream = client.makeBidiStreamRequest('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', raw, raw)
    stream.on('data', (bytes: Buffer) => {
      resolve(bytes)
      stream.end()
    })
    stream.on('error', reject)
    stream.write(Buffer.from([0x3a, 1, 0x2a]))
  })
  assert.match(answer.toString('latin1'), /shop\.Orders/)
  assert.doesNotMatch(answer.toString('latin1'), /shop\.Hidden/)
})
