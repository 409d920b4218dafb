import { BlockList, isIPv4, isIPv6 } from 'node:net'

/**
 * Where a receiver may be. `Public`: what is routed on the Internet. `Private`: a network of one's own (RFC 1918, RFC 4193, and RFC 6598,
 * which clusters use as well). `Loopback`: this machine, for tests of one's own.
 */
export type Network = 'Public' | 'Private' | 'Loopback'

/**
 * IANA's IPv4 Special-Purpose Address Registry, multicast and what is reserved, but for nothing: whatever of them is reachable somewhere
 * is no receiver. And the one address outside of them at which a cloud (Azure) serves its machines.
 */
const SPECIAL_V4 = blockList(4, [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '168.63.129.16/32',
])

/**
 * Of IPv6 only global unicast may be public. That leaves out loopback, link-local and unique local addresses, multicast, and those that hold
 * an IPv4 address (mapped, 64:ff9b::/96, 64:ff9b:1::/48) by one rule.
 */
const GLOBAL_V6 = blockList(6, ['2000::/3'])

/** Within it: IETF protocol assignments (Teredo, ORCHID and others), documentation, 6to4. */
const SPECIAL_V6 = blockList(6, ['2001::/23', '2001:db8::/32', '2002::/16', '2620:4f:8000::/48', '3fff::/20'])

const PRIVATE_V4 = blockList(4, ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'])
const PRIVATE_V6 = blockList(6, ['fc00::/7'])
/** Clouds tell a machine its own credentials at these: Alibaba; AWS; Google. */
const METADATA_V4 = blockList(4, ['100.100.100.200/32'])
const METADATA_V6 = blockList(6, ['fd00:ec2::/32', 'fd20:ce::/32'])

const LOOPBACK_V4 = blockList(4, ['127.0.0.0/8'])
const LOOPBACK_V6 = blockList(6, ['::1/128'])

/** Whether a receiver of that network may be at the address. What is no address, or one with a zone, is nowhere. */
export function isAllowed(address: string, network: Network): boolean {
  if (isIPv4(address)) {
    switch (network) {
      case 'Public':
        return !SPECIAL_V4.check(address)
      case 'Private':
        return PRIVATE_V4.check(address) && !METADATA_V4.check(address)
      case 'Loopback':
        return LOOPBACK_V4.check(address)
    }
  }
  if (!isIPv6(address) || address.includes('%')) return false
  const isIn = (list: BlockList): boolean => list.check(address, 'ipv6')
  switch (network) {
    case 'Public':
      return isIn(GLOBAL_V6) && !isIn(SPECIAL_V6)
    case 'Private':
      return isIn(PRIVATE_V6) && !isIn(METADATA_V6)
    case 'Loopback':
      return isIn(LOOPBACK_V6)
  }
}

function blockList(version: 4 | 6, ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [network = '', length] = range.split('/')
    list.addSubnet(network, Number(length), `ipv${version}`)
  }
  return list
}
