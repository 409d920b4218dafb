import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CalculateService } from '../../../../crds/types.ts'
import { validateResource } from '../../../../crds/validate.ts'
import { kafkaAccess, missingSecrets } from '../../../../operator/kafka/kafka-access.ts'
import { kafkaSecrets } from '../../../../operator/secret-references.ts'
import { resource } from '../../crds/cases.ts'

const result = validateResource(
  resource('CalculateService', {
    'spec.kafka': {
      bootstrapServers: ['kafka:9093'],
      tls: {
        caSecretRef: { name: 'ca', key: 'ca.crt' },
        clientCertificateSecretRef: { name: 'client' },
        serverName: 'kafka.example.org',
      },
      sasl: { mechanism: 'SCRAM-SHA-512', username: 'team', passwordSecretRef: { name: 'team', key: 'password' } },
    },
  }),
)
assert.ok(result.ok)
const service = result.resource as CalculateService

const VALUES: Readonly<Record<string, string>> = {
  'ca ca.crt': 'CA',
  'client tls.crt': 'CERT',
  'client tls.key': 'KEY',
  'team password': 'secret\n',
}
const all = ({ name, key }: { readonly name: string; readonly key: string }) => VALUES[`${name} ${key}`]

describe('how the operator reaches the Kafka of a service', () => {
  test('is what the resource says, with its secrets read', () => {
    assert.deepEqual(kafkaAccess(service, all), {
      servers: ['kafka:9093'],
      tls: { ca: 'CA', cert: 'CERT', key: 'KEY', serverName: 'kafka.example.org' },
      sasl: { mechanism: 'SCRAM-SHA-512', username: 'team', password: 'secret' },
    })
  })

  test('is not known while a secret is missing, and it is told which', () => {
    for (const missing of Object.keys(VALUES)) {
      const read: typeof all = (reference) =>
        `${reference.name} ${reference.key}` === missing ? undefined : all(reference)
      assert.equal(kafkaAccess(service, read), undefined)
      const [name, key] = missing.split(' ')
      const lines = missingSecrets(kafkaSecrets(service), read)
      assert.equal(lines.length, 1)
      assert.match(lines[0] ?? '', new RegExp(`^spec\\.kafka\\.\\S+: there is no key ${key} in a Secret ${name}$`))
    }
  })
})
