import assert from 'node:assert/strict'
import { join } from 'node:path'
import test from 'node:test'
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader'
import { descriptorSet } from '../../../local/descriptor-set.ts'
import { ResourcesError } from '../../../local/resources/origin.ts'
import { folder } from './resources/files.ts'

test('the files and what they import are in the set', async (context) => {
  const long = Array.from(
    { length: 40 },
    (_, index) => `  string a_rather_long_field_name_${index} = ${index + 1};`,
  ).join('\n')
  const directory = await folder(context, {
    'orders.proto': `syntax = "proto3"; package shop; import "money.proto";
      service Orders { rpc Place(Order) returns (Order); } message Order { Money price = 1; }`,
    'money.proto': `syntax = "proto3"; package shop; message Money { ${long} }`,
  })
  const loaded = loadFileDescriptorSetFromBuffer(descriptorSet([join(directory, 'orders.proto')]))
  assert.deepEqual(Object.keys(loaded).toSorted(), ['shop.Money', 'shop.Order', 'shop.Orders'])
})

test('a file that is no proto is a problem that names it', async (context) => {
  const directory = await folder(context, { 'bad.proto': 'service {' })
  assert.throws(
    () => descriptorSet([join(directory, 'bad.proto')]),
    (error) => error instanceof ResourcesError && error.message.includes('bad.proto'),
  )
})
