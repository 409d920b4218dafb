import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { until } from './route.ts'
import type { Route, Sidecar } from './route.ts'

export type Section = Record<string, unknown>
/** A configuration as a test edits it. */
export type Written = Record<'log' | 'admin' | 'proxy' | 'worker' | 'service', Section>

export const read = (sidecar: Sidecar): Written => JSON.parse(readFileSync(sidecar.configFile, 'utf8')) as Written

/** Changes a sidecar's file at once, as the kubelet does; resolves when the sidecar has applied or refused it. */
export async function change(
  route: Route,
  sidecar: Sidecar,
  edit: (config: Written) => void,
  result: 'applied' | 'refused' = 'applied',
): Promise<void> {
  const reloads = () => route.metric(sidecar, 'grpc_kafka_config_reloads_total', `result="${result}"`)
  const before = await reloads()
  const config = read(sidecar)
  edit(config)
  writeFileSync(`${sidecar.configFile}.new`, JSON.stringify(config))
  renameSync(`${sidecar.configFile}.new`, sidecar.configFile)
  await until(`the change is ${result}`, async () => (await reloads()) > before)
}
