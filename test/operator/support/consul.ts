import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { startConsul, type ConsulOptions, type ConsulServer } from '../../../local/platform/consul.ts'
import { atEnd } from '../../integration/support/clean-up.ts'
import type { Namespace } from './namespace.ts'

/** A Consul that a test may break. Gone when the test is. */
export async function ownConsul(t: TestContext, config: ConsulOptions['config'] = {}): Promise<ConsulServer> {
  const directory = mkdtempSync(join(tmpdir(), 'grpc-kafka-own-consul-'))
  atEnd(t, () => rmSync(directory, { recursive: true, force: true }))
  const consul = await startConsul({ directory, config, report: () => undefined })
  atEnd(t, () => consul.stop(0))
  return consul
}

/** What the operators put into the shared Consul for the proxies of a namespace. */
export async function instancesOf({ name }: Namespace): Promise<readonly { readonly Port: number }[]> {
  const answer = await fetch(`${process.env['CONSUL_HTTP_ADDR'] ?? ''}/v1/catalog/node-services/grpc-kafka-${name}`)
  return ((await answer.json()) as { readonly Services?: readonly { readonly Port: number }[] }).Services ?? []
}
