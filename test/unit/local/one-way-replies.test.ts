import assert from 'node:assert/strict'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { descriptorSet } from '../../../local/descriptor-set.ts'
import { oneWayReplyWarnings } from '../../../local/one-way-replies.ts'
import { loadResources } from '../../../local/resources/load.ts'
import { resolveRoutes } from '../../../local/resources/resolve.ts'
import { folder, service } from './resources/files.ts'

async function warningsOf(context: TestContext, methods: string, ofService = 'orders.Orders'): Promise<string[]> {
  const written = service('orders').replace(/methods: .*/, `methods: ${methods}`)
  assert.ok(written.includes(methods))
  const directory = await folder(context, {
    'a.yaml': written.replace(/service: .*/, `service: ${ofService}`),
    'orders.proto': `syntax = "proto3"; package orders; import "google/protobuf/empty.proto";
      service Orders { rpc Place(Order) returns (Receipt); rpc Note(Order) returns (google.protobuf.Empty);
        rpc Mark(Order) returns (Nothing); }
      message Order { string id = 1; } message Receipt { string id = 1; } message Nothing { }`,
  })
  const { routes } = resolveRoutes(await loadResources([join(directory, 'a.yaml')]))
  return oneWayReplyWarnings(
    descriptorSet([join(directory, 'orders.proto')]),
    routes.map((route) => route.service),
  )
}

test('a one-way method whose reply has fields is warned of, and no other', async (context) => {
  const methods =
    '[{ name: Place, delivery: OneWay }, { name: Note, delivery: OneWay }, { name: Mark, delivery: OneWay }]'
  assert.deepEqual(await warningsOf(context, methods), [
    'CalculateService orders: spec.methods: Place is OneWay and its reply Receipt is not google.protobuf.Empty: callers read one with nothing in it',
  ])
  assert.deepEqual(await warningsOf(context, '[{ name: Place }]'), [])
})

test('of what is not described nothing is said', async (context) => {
  assert.deepEqual(await warningsOf(context, '[{ name: Unknown, delivery: OneWay }]'), [])
  assert.deepEqual(await warningsOf(context, '[{ name: Place, delivery: OneWay }]', 'other.Service'), [])
})
