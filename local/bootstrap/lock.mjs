import { createHash } from 'node:crypto'
import { unlinkSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Runs `work` while no other process of this machine holds the lock of the same name. The lock is a listening
 * socket, so it ends with its holder, however that ends; who waits is connected to it and notices at once.
 *
 * @template T
 * @param {string} name  what is guarded, e.g. the path of a folder
 * @param {() => Promise<T>} work
 * @param {{ readonly onWait?: () => void }} [options]  `onWait` is called once when somebody else holds the lock
 * @returns {Promise<T>}
 */
export async function withLock(name, work, options = {}) {
  const address = socketAddress(name)
  let waited = false
  for (;;) {
    const server = await listen(address)
    if (server) {
      try {
        return await work()
      } finally {
        await new Promise((resolve) => {
          server.close(resolve)
          server.emit('release')
        })
      }
    }
    if (!waited) options.onWait?.()
    waited = true
    await untilReleased(address)
  }
}

/** @param {string} name */
function socketAddress(name) {
  const short = createHash('sha256').update(name).digest('hex').slice(0, 24)
  // Linux's abstract sockets are no files, so that nothing is left behind by a killed holder.
  return process.platform === 'linux' ? `\0grpc-kafka-${short}` : join(tmpdir(), `grpc-kafka-${short}.sock`)
}

/**
 * @param {string} address
 * @returns {Promise<import('node:net').Server | undefined>} undefined when somebody else listens
 */
function listen(address) {
  return new Promise((resolve, reject) => {
    const server = createServer((waiter) => {
      waiter.on('error', () => waiter.destroy())
      server.once('release', () => waiter.destroy())
    })
    server.setMaxListeners(0)
    server.once('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === 'EADDRINUSE') resolve(undefined)
      else reject(error)
    })
    server.listen(address, () => resolve(server))
  })
}

/**
 * @param {string} address
 * @returns {Promise<void>}
 */
function untilReleased(address) {
  return new Promise((resolve) => {
    const socket = connect(address)
    socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      if (error.code === 'ECONNREFUSED' && !address.startsWith('\0')) {
        // A socket file without a listener was left by a killed holder.
        try {
          unlinkSync(address)
        } catch {
          // Another waiter was first.
        }
      }
    })
    socket.on('close', () => resolve())
    socket.resume()
  })
}
