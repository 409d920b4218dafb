import assert from 'node:assert/strict'
import { join } from 'node:path'
import test from 'node:test'
import { descriptorSet } from '../../../local/descriptor-set.ts'
import { MessageJson } from '../../../local/message-json.ts'
import { folder } from './resources/files.ts'

test('a request is told as JSON where its method is known and its bytes are one', async (context) => {
  const directory = await folder(context, {
    'orders.proto': `syntax = "proto3"; package shop; service Orders { rpc Place(Order) returns (Order); }
      enum Kind { NONE = 0; GIFT = 1; } message Order { string name = 1; int64 cents = 2; Kind kind = 3; }`,
  })
  const messages = new MessageJson(descriptorSet([join(directory, 'orders.proto')]))
  const bytes = Buffer.from([0x0a, 3, 0x74, 0x65, 0x61, 0x10, 5, 0x18, 1])
  assert.deepEqual(messages.request('shop.Orders/Place', bytes), { name: 'tea', cents: '5', kind: 'GIFT' })
  assert.equal(messages.request('shop.Orders/Other', bytes), undefined)
  assert.equal(messages.request('shop.Orders/Place', Buffer.from([0x0a, 200])), undefined)
})
