import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'

/** A port is wanted by somebody already, or no port is free. `code` is `PORT_IN_USE`. */
export class PortInUseError extends Error {
  readonly code = 'PORT_IN_USE'
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'PortInUseError'
  }
}

/** What this process was given already may not be listened on yet. */
const given = new Set<number>()

/**
 * A free TCP port for a server that must be able to come back on it. It lies below the ports that the system gives to
 * outgoing connections: a client that tries again and again while the server is away could otherwise be given the
 * very port, and hold it (or be connected to itself).
 *
 * @throws PortInUseError when none of a hundred tries was free
 */
export async function freePort(random: () => number = Math.random): Promise<number> {
  const end = firstEphemeralPort()
  const start = Math.min(15_000, Math.floor(end / 2))
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = start + Math.floor(random() * (end - start))
    if (!given.has(port) && (await isFree(port))) {
      given.add(port)
      return port
    }
  }
  throw new PortInUseError(`no free port was found between ${start} and ${end - 1}`)
}

function firstEphemeralPort(): number {
  try {
    const [first = ''] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/)
    const port = Number(first)
    return Number.isInteger(port) && port > 1100 ? port : 32_768
  } catch {
    return 32_768
  }
}

/** Whether a server could listen on the port now, on every address of this machine. */
export function isFree(port: number): Promise<boolean> {
  const tryHost = (host: string): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const server = createServer()
      server.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false)
        else reject(error)
      })
      server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)))
    })
  return tryHost('0.0.0.0')
}
