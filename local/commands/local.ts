import { parseArgs } from 'node:util'
import { reportToTerminal } from '../report.ts'
import type { RunningRoutes } from '../route.ts'
import { withSession } from '../session.ts'
import { UsageError, wholeNumber } from '../usage.ts'

/** `grpc-kafka local`: a user's own resources. */
export async function local(args: readonly string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      filename: { type: 'string', short: 'f', multiple: true },
      proto: { type: 'string', multiple: true },
      port: { type: 'string' },
    },
  })
  if (!values.filename) throw new UsageError('which resources? Give -f DIR_OR_FILE')
  await stayUp(
    {
      paths: values.filename,
      protoFiles: values.proto ?? [],
      ...(values.port === undefined ? {} : { proxyPort: wholeNumber('--port', values.port, 1, 65_535) }),
    },
    signal,
    () => [],
  )
  return 0
}

/**
 * Runs the resources until the signal; prints where everything is.
 * @param hints  lines about how to call it
 */
export async function stayUp(
  options: { readonly paths: readonly string[]; readonly protoFiles?: readonly string[]; readonly proxyPort?: number },
  signal: AbortSignal,
  hints: (routes: RunningRoutes) => readonly string[],
): Promise<void> {
  await withSession(
    {
      ...options,
      report: reportToTerminal,
      handlerLine: (name, text) => console.log(`[${name}] ${text}`),
    },
    signal,
    async ({ routes, directory }) => {
      for (const line of describe(routes, directory, hints(routes))) console.log(line)
      await aborted(signal)
    },
  )
}

function describe({ proxies, workers }: RunningRoutes, directory: string, hints: readonly string[]): readonly string[] {
  return [
    '',
    ...proxies.map(({ service, address }) => `${service.spec.service} is served on ${address} (gRPC without TLS)`),
    ...hints.map((line) => `  ${line}`),
    ...proxies.map(({ name, adminUrl }) => `  metrics    ${adminUrl}/metrics (${name})`),
    ...workers.map(({ name, adminUrl }) => `  metrics    ${adminUrl}/metrics (${name})`),
    `  logs       ${directory}`,
    '  stop       Ctrl-C',
    '',
  ]
}

/** Resolves when the signal is aborted. Sockets of nothing keep the process up meanwhile: its children do. */
const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
