/** `grpc-kafka` as a user runs it. */
import { once } from 'node:events'
import { Process } from './route.ts'
import type { Route } from './route.ts'

interface Printed {
  /** null: it was killed. */
  readonly code: number | null
  readonly text: string
}

export async function run(
  route: Route,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Printed> {
  const process = new Process('local/cli.ts', args, {
    KAFKA_BROKERS: route.brokers.join(','),
    REDIS_URL: route.redisUrl,
    ...env,
  })
  route.closing.addEventListener('abort', () => process.kill('SIGKILL'))
  // A process may exit before its last lines were read.
  const [code] = (await once(process.child, 'close')) as [number | null]
  return { code, text: process.lines.join('\n') }
}
