import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isAllowed } from '../../../../sidecar/callback/address.ts'
import type { Network } from '../../../../sidecar/callback/address.ts'

const NETWORKS = ['Public', 'Private', 'Loopback'] as const

/** The first and last addresses of ranges, and of which network a receiver may be there. */
const OF: Readonly<Record<Network | 'none', readonly string[]>> = {
  Public: [
    '1.1.1.1',
    '9.255.255.255',
    '11.0.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.0.1.0',
    '198.17.255.255',
    '223.255.255.255',
    '2606:4700::1111',
    '2a00::1',
    '2001:200::',
    '3ffe::1',
    '3fff:1000::',
  ],
  Private: [
    '10.0.0.0',
    '10.255.255.255',
    '172.16.0.0',
    '172.31.255.255',
    '192.168.0.0',
    '192.168.255.255',
    '100.64.0.0',
    '100.127.255.255',
    'fc00::',
    'fdff:ffff::1',
    'fd00:ec1::254',
  ],
  Loopback: ['127.0.0.1', '127.255.255.255', '::1', '0:0:0:0:0:0:0:1'],
  none: [
    '0.0.0.0',
    '0.255.255.255',
    '169.254.0.0',
    '169.254.169.254',
    '169.254.170.2',
    '168.63.129.16',
    '100.100.100.200',
    'fd00:ec2::254',
    'fd20:ce::254',
    '192.0.0.0',
    '192.0.0.192',
    '192.0.2.1',
    '192.88.99.1',
    '198.18.0.0',
    '198.19.255.255',
    '198.51.100.1',
    '203.0.113.255',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.0',
    '255.255.255.255',
    '::',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:8.8.8.8',
    '::127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b::808:808',
    '64:ff9b:1::1',
    '100::1',
    '2001::1',
    '2001:0:7f00:1::',
    '2001:20::1',
    '2001:1ff:ffff::1',
    '2001:db8::1',
    '2002:7f00:1::',
    '2002:a9fe:a9fe::1',
    '3fff::1',
    '3fff:fff::1',
    '5f00::1',
    'fe80::1',
    'fe80::a9fe:a9fe',
    'febf::1',
    'fec0::1',
    'ff02::1',
    '4000::1',
    'fe80::1%eth0',
    '2606:4700::1111%1',
    '',
    'localhost',
    '127.1',
    '0x7f.1',
    '2130706433',
    '[::1]',
    '1.1.1.1/32',
    '1.1.1.1 ',
  ],
}

describe('a receiver may be at an address of its own network, and of no other', () => {
  for (const [network, addresses] of Object.entries(OF))
    test(network, () => {
      const expected = network === 'none' ? [] : [network]
      for (const address of addresses)
        assert.deepEqual(
          NETWORKS.filter((one) => isAllowed(address, one)),
          expected,
          address,
        )
    })
})
