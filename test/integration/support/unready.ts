/** Sidecars that cannot work yet, and what they say of it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { atEnd } from './clean-up.ts'
import { Route, until } from './route.ts'
import type { RouteOptions, Sidecar } from './route.ts'

/** A machine that does much else takes half a minute. */
const SAYS_MILLISECONDS = 90_000

/** Topics, a proxy and a worker that need not get ready. Gone when the test is. */
export async function startUnready(t: TestContext, options: RouteOptions): Promise<Route> {
  const route = new Route(options)
  atEnd(t, () => route.close())
  await route.createTopics()
  await Promise.all([route.startProxy({}, { whenReady: false }), route.startWorker({}, { whenReady: false })])
  return route
}

export const sidecars = (route: Route): readonly Sidecar[] => [...route.proxies, ...route.workers]

/** The sidecar is not ready and tells why, in its log and at /readyz, and tells none of the secrets. */
export async function assertSays(
  route: Route,
  sidecar: Sidecar,
  why: RegExp,
  secrets: readonly string[],
): Promise<void> {
  const page = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${sidecar.adminPort}/readyz`).catch(() => undefined))?.text() ?? ''
  const says = async () => why.test(await page())
  await until(`${sidecar.config.instance} says why at /readyz`, says, SAYS_MILLISECONDS).catch(
    async (error: unknown) => {
      throw new Error(`${(error as Error).message}\n${await page()}\n${sidecar.process.lines.slice(-20).join('\n')}`)
    },
  )
  assert.equal(await route.status(sidecar, '/readyz'), 503)
  const log = () => sidecar.process.lines.join('\n')
  await until('the log says why', () => why.test(log()))
  const told = `${log()}${await page()}${readFileSync(sidecar.configFile, 'utf8')}`
  for (const secret of secrets) assert.ok(!told.includes(secret), 'a secret is told')
}
