import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { post } from '../../../../sidecar/callback/post.ts'
import type { Network } from '../../../../sidecar/callback/address.ts'

const NEVER = new AbortController().signal
const BODY = Buffer.from('{"a":1}')

async function receiver(t: TestContext, answer: RequestListener) {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    answer(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { server, requests, url: new URL(`http://hooks.example.com:${port}/path?a=b`) }
}

const ok: RequestListener = (_request, response) => void response.end()

/** Answers each asking with the next of these, the last one again and again; keeps the names that it was asked for. */
function resolver(...answers: (readonly string[])[]) {
  const asked: string[] = []
  return {
    asked,
    resolve: (name: string) => {
      const addresses = answers[Math.min(asked.length, answers.length - 1)] ?? []
      asked.push(name)
      return Promise.resolve(addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })))
    },
  }
}

const sent = (url: URL, addresses: readonly string[], network: Network = 'Loopback', signal = NEVER) =>
  post({ url, network, headers: { 'webhook-id': 'a' }, body: BODY }, resolver(addresses).resolve, signal)

describe('a post', () => {
  test('brings headers and body to the address, under the name', async (t) => {
    let body = ''
    const { url, requests } = await receiver(t, (request, response) => {
      request.on('data', (chunk) => (body += String(chunk)))
      request.on('end', () => response.writeHead(202).end())
    })
    assert.equal(await sent(url, ['127.0.0.1']), 202)
    const [request] = requests
    assert.deepEqual(
      [request?.method, request?.url, request?.headers.host, request?.headers['webhook-id'], body],
      ['POST', '/path?a=b', url.host, 'a', '{"a":1}'],
    )
  })

  test('asks for the name once, and is not led elsewhere by what it resolves to afterwards', async (t) => {
    let address: string | undefined
    const { url } = await receiver(t, ({ socket }, response) => {
      address = socket.localAddress
      response.end()
    })
    const { resolve, asked } = resolver(['127.0.0.1'], ['127.0.0.2'])
    await post({ url, network: 'Loopback', headers: {}, body: BODY }, resolve, NEVER)
    assert.deepEqual([asked, address], [['hooks.example.com'], '127.0.0.1'])
  })

  for (const [addresses, network] of [
    [['127.0.0.1'], 'Public'],
    [['127.0.0.1'], 'Private'],
    [['127.0.0.1', '10.0.0.1'], 'Loopback'],
    [['10.0.0.1', '127.0.0.1'], 'Loopback'],
    [['127.0.0.1', '::ffff:127.0.0.1'], 'Loopback'],
    [[], 'Loopback'],
  ] as const)
    test(`to a ${network} name is not sent where it resolves to ${addresses.join(' and ') || 'nothing'}`, async (t) => {
      const { server, url } = await receiver(t, ok)
      let connections = 0
      server.on('connection', () => (connections += 1))
      await assert.rejects(sent(url, addresses, network), { name: 'PostError', code: 'ADDRESS_NOT_ALLOWED' })
      // Whatever was to come had come before the answer to this.
      await sent(url, ['127.0.0.1'])
      assert.equal(connections, 1)
    })

  test('to a public name does not look for it in the domains of the cluster first', async (t) => {
    const { url } = await receiver(t, ok)
    const { resolve, asked } = resolver(['10.0.0.1'])
    await assert.rejects(post({ url, network: 'Public', headers: {}, body: BODY }, resolve, NEVER))
    assert.deepEqual(asked, ['hooks.example.com.'])
  })

  test('follows no redirect', async (t) => {
    const other = await receiver(t, ok)
    const { url } = await receiver(t, (_request, response) => {
      response.writeHead(307, { location: `http://127.0.0.1:${other.url.port}/latest/meta-data` }).end()
    })
    assert.equal(await sent(url, ['127.0.0.1']), 307)
    await sent(other.url, ['127.0.0.1'])
    assert.deepEqual(
      other.requests.map(({ url: path }) => path),
      ['/path?a=b'],
    )
  })

  test('is answered where the receiver would rather speak another protocol', { timeout: 60_000 }, async (t) => {
    const closed = Promise.withResolvers<void>()
    const { url } = await receiver(t, ({ socket }) => {
      socket.on('close', () => closed.resolve())
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
    })
    assert.equal(await sent(url, ['127.0.0.1']), 101)
    await closed.promise
  })

  test('reads no answer to its end that has none', async (t) => {
    const closed = Promise.withResolvers<void>()
    const { url } = await receiver(t, (request, response) => {
      request.socket.on('close', () => closed.resolve())
      response.on('error', () => undefined)
      const write = (): void => {
        response.write('x'.repeat(65_536), (error) => {
          if (error == null) setImmediate(write)
        })
      }
      write()
    })
    assert.equal(await sent(url, ['127.0.0.1']), 200)
    await closed.promise
  })

  test('ends with its signal, whether name, connection or answer is waited for', async (t) => {
    const reason = new Error('enough')
    const { url, server } = await receiver(t, () => undefined)
    const answerless = new AbortController()
    server.once('request', () => answerless.abort(reason))
    await assert.rejects(sent(url, ['127.0.0.1'], 'Loopback', answerless.signal), reason)
    const nameless = new AbortController()
    const resolve = () => {
      nameless.abort(reason)
      return new Promise<never>(() => undefined)
    }
    await assert.rejects(post({ url, network: 'Public', headers: {}, body: BODY }, resolve, nameless.signal), reason)
  })

  test('says why there was no answer', async (t) => {
    const { url } = await receiver(t, (request) => void request.socket.destroy())
    await assert.rejects(sent(url, ['127.0.0.1']), { name: 'PostError', code: 'NO_ANSWER', message: 'ECONNRESET' })
    const secure = new URL(url.href.replace('http:', 'https:'))
    await assert.rejects(sent(secure, ['127.0.0.1']), { code: 'NO_ANSWER' })
  })
})
