import type { CalculateService } from '../crds/types.ts'
import { isFree, PortInUseError } from './platform/free-port.ts'
import type { Route } from './resources/resolve.ts'

/** One proxy that is to run. */
export type ProxyPort = { readonly service: CalculateService; readonly index: number; readonly port: number }

/**
 * The port of each proxy: the first of a service has `spec.proxy.port`, the next ones those after it. Services that
 * want the same port, as they may in a cluster, get the next one that no other of them has.
 *
 * @param firstPort  takes the place of the first service's `spec.proxy.port`
 * @param free  whether a port is free on this machine
 * @returns the ports, and a line for each proxy that is not where its resource says
 * @throws PortInUseError for a port that another program has, or that two handlers want
 */
export async function assignPorts(
  routes: readonly Route[],
  firstPort?: number,
  free: (port: number) => Promise<boolean> = isFree,
): Promise<{ readonly proxyPorts: readonly ProxyPort[]; readonly notes: readonly string[] }> {
  const owners = new Map<number, string>()
  for (const { group, handler } of routes.flatMap(({ groups }) => groups)) {
    if (handler.ownPort || group.spec.replicas === 0) continue
    const { port } = group.spec.handler
    const owner = `the handler of ConsumerGroup ${group.metadata.name}`
    const other = owners.get(port)
    if (other !== undefined) {
      throw new PortInUseError(
        `port ${port} (spec.handler.port) is wanted by ${other} and by ${owner}; each pod has ports of its own, one machine has not: change one, or let the handler read its port from a variable PORT`,
      )
    }
    if (!(await free(port))) {
      throw new PortInUseError(
        `port ${port} (spec.handler.port) of ${owner} is in use by another program: stop that one, or change it`,
      )
    }
    owners.set(port, owner)
  }

  const proxyPorts: ProxyPort[] = []
  const notes: string[] = []
  for (const [order, { service }] of routes.entries()) {
    const name = `CalculateService ${service.metadata.name}`
    for (let index = 0; index < service.spec.proxy.replicas; index += 1) {
      const wanted = (order === 0 ? (firstPort ?? service.spec.proxy.port) : service.spec.proxy.port) + index
      let port = wanted
      while (owners.has(port)) port += 1
      if (port > 65_535) throw new PortInUseError(`${name}: there is no port ${port} for proxy ${index}`)
      if (!(await free(port))) {
        throw new PortInUseError(
          `port ${port} of proxy ${index} of ${name} is in use by another program: stop that one, change spec.proxy.port, or give --port`,
        )
      }
      if (port !== wanted) notes.push(`${name}: port ${wanted} is taken by ${owners.get(wanted)}, here it is ${port}`)
      owners.set(port, name)
      proxyPorts.push({ service, index, port })
    }
  }
  return { proxyPorts, notes }
}
