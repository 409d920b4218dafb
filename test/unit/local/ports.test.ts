import assert from 'node:assert/strict'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { assignPorts } from '../../../local/ports.ts'
import { PortInUseError } from '../../../local/platform/free-port.ts'
import { loadResources } from '../../../local/resources/load.ts'
import { resolveRoutes, type Route } from '../../../local/resources/resolve.ts'
import { folder, group, service } from './resources/files.ts'

const routesOf = async (context: TestContext, ...documents: readonly string[]): Promise<readonly Route[]> => {
  const directory = await folder(context, { 'a.yaml': documents.join('---\n') })
  return resolveRoutes(await loadResources([join(directory, 'a.yaml')])).routes
}

const allFree = (): Promise<boolean> => Promise.resolve(true)
const busy =
  (...ports: readonly number[]) =>
  (port: number): Promise<boolean> =>
    Promise.resolve(!ports.includes(port))

test('proxy i listens on the port after proxy i - 1', async (context) => {
  const routes = await routesOf(context, service('orders', '  proxy: { port: 9000, replicas: 3 }\n'))
  const { proxyPorts, notes } = await assignPorts(routes, undefined, allFree)
  assert.deepEqual(
    proxyPorts.map(({ index, port }) => [index, port]),
    [
      [0, 9000],
      [1, 9001],
      [2, 9002],
    ],
  )
  assert.deepEqual(notes, [])
})

test('services that want the same port share the machine, and it is said', async (context) => {
  const routes = await routesOf(context, service('orders'), service('returns'))
  const { proxyPorts, notes } = await assignPorts(routes, undefined, allFree)
  assert.deepEqual(
    proxyPorts.map(({ port }) => port),
    [8080, 8081],
  )
  assert.deepEqual(notes, ['CalculateService returns: port 8080 is taken by CalculateService orders, here it is 8081'])
})

test('--port is for the first proxy', async (context) => {
  const routes = await routesOf(context, service('orders', '  proxy: { replicas: 2 }\n'), service('returns'))
  const { proxyPorts } = await assignPorts(routes, 7000, busy(8081))
  assert.deepEqual(
    proxyPorts.map(({ port }) => port),
    [7000, 7001, 8080],
  )
})

test('a port of another program is an error that names it', async (context) => {
  const routes = await routesOf(context, service('orders'), group('orders', 'orders'))
  await assert.rejects(assignPorts(routes, undefined, busy(8080)), (error) => {
    assert.ok(error instanceof PortInUseError)
    assert.match(error.message, /^port 8080 of proxy 0 of CalculateService orders is in use .* --port$/)
    return true
  })
  await assert.rejects(
    assignPorts(routes, undefined, busy(50051)),
    /^PortInUseError: port 50051 \(spec\.handler\.port\)/,
  )
})

test('two handlers that do not read PORT cannot have the same port', async (context) => {
  const routes = await routesOf(
    context,
    service('orders'),
    group('one', 'orders'),
    group('two', 'orders', '  role: Observer\n'),
  )
  await assert.rejects(assignPorts(routes, undefined, allFree), /is wanted by the handler of ConsumerGroup one and by/)
})
