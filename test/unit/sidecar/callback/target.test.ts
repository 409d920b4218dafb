import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { findTarget } from '../../../../sidecar/callback/target.ts'

const RECEIVERS = [
  { host: 'hooks.example.com', scheme: 'HTTPS' },
  { host: 'hooks.example.com', scheme: 'HTTPS', port: 8443 },
  { host: 'inside.svc', scheme: 'HTTP', port: 8080 },
  { host: 'localhost', scheme: 'HTTPS' },
  { host: 'xn--bcher-kva.example', scheme: 'HTTPS' },
] as const

/** What would be called, or why nothing. */
function targetOf(text: string): string {
  const target = findTarget(text, RECEIVERS)
  return target.kind === 'Allowed' ? target.url.href : target.reason
}

const NONE = "is none of a receiver of the service's callbacks"

describe('a URL of a receiver is allowed', () => {
  for (const [text, called] of [
    ['https://hooks.example.com/a?b=c', 'https://hooks.example.com/a?b=c'],
    ['https://hooks.example.com', 'https://hooks.example.com/'],
    ['https://hooks.example.com:443/', 'https://hooks.example.com/'],
    ['HTTPS://HOOKS.EXAMPLE.COM/A', 'https://hooks.example.com/A'],
    ['https://h%6Foks.example.com/', 'https://hooks.example.com/'],
    ['https:hooks.example.com/', 'https://hooks.example.com/'],
    ['https://hooks.example.com:8443/', 'https://hooks.example.com:8443/'],
    ['http://inside.svc:8080/a', 'http://inside.svc:8080/a'],
    ['https://xn--bcher-kva.example/', 'https://xn--bcher-kva.example/'],
    // A backslash ends the host, as a slash does: what comes behind is its path.
    ['https://hooks.example.com\\@evil.example/', 'https://hooks.example.com/@evil.example/'],
  ] as const)
    test(text, () => assert.equal(targetOf(text), called))
})

describe('a URL of nobody else is: no other host, port or scheme', () => {
  for (const text of [
    'https://evil.example/',
    'https://hooks.example.com.evil.example/',
    'https://evil.example/hooks.example.com',
    'https://example.com/',
    'https://a.hooks.example.com/',
    'https://hooks.example.com./',
    'https://hooks.example.com:8444/',
    'https://hooks.example.com:80/',
    'http://hooks.example.com/',
    'http://hooks.example.com:443/',
    'https://inside.svc:8080/',
    'http://inside.svc/',
    'https://b%C3%BCcher.example.evil/',
    'https://localhost./',
  ])
    test(text, () => assert.equal(targetOf(text), NONE))
})

describe('an address is none, however it is written', () => {
  for (const host of [
    '127.0.0.1',
    '127.1',
    '127.0.0.1.',
    '0x7f.1',
    '0x7f000001',
    '2130706433',
    '017700000001',
    '0177.0.0.1',
    '%31%32%37.0.0.1',
    '0',
    '169.254.169.254',
    '0xa9fea9fe',
    '2852039166',
    '[::]',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[64:ff9b::7f00:1]',
    '[fd00:ec2::254]',
    '100.100.100.200',
    '93.184.215.14',
  ])
    test(host, () => assert.equal(targetOf(`https://${host}/`), NONE))
})

describe('what a URL may not hold', () => {
  for (const [text, reason] of [
    ['https://user@hooks.example.com/', 'has user information'],
    ['https://:password@hooks.example.com/', 'has user information'],
    ['https://hooks.example.com@evil.example/', 'has user information'],
    ['https://hooks.example.com/#a', 'has a fragment'],
    ['https://hooks.example.com/#', 'has a fragment'],
    ['ftp://hooks.example.com/', 'is neither https nor http'],
    ['file:///etc/passwd', 'is neither https nor http'],
    ['javascript:hooks.example.com', 'is neither https nor http'],
    ['/a', 'is no URL in visible ASCII characters'],
    ['', 'is no URL in visible ASCII characters'],
    ['https://', 'is no URL in visible ASCII characters'],
    ['https://hooks.example.com/ a', 'is no URL in visible ASCII characters'],
    [' https://hooks.example.com/', 'is no URL in visible ASCII characters'],
    ['https://hooks.exam\tple.com/', 'is no URL in visible ASCII characters'],
    ['https://hooks.exam\r\nple.com/', 'is no URL in visible ASCII characters'],
    ['https://b\u00fccher.example/', 'is no URL in visible ASCII characters'],
    ['https://hooks\uff0eexample.com/', 'is no URL in visible ASCII characters'],
    ['https://256.256.256.256/', 'is no URL in visible ASCII characters'],
    ['https://hooks.example.com:65536/', 'is no URL in visible ASCII characters'],
    [`https://hooks.example.com/${'a'.repeat(2023)}`, 'has more than 2048 characters'],
    // Three characters for each, as it would be sent.
    [`https://hooks.example.com/${'"'.repeat(675)}`, 'has more than 2048 characters'],
  ] as const)
    test(JSON.stringify(text.slice(0, 60)), () => assert.equal(targetOf(text), reason))
})
