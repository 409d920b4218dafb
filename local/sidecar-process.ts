import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { SidecarConfigInput } from '../sidecar/config.ts'
import { startChild, type Child } from './child.ts'

/** The variable that tells a sidecar the Redis URL: it may hold a password, which no file should. */
export const REDIS_URL_VARIABLE = 'GRPC_KAFKA_REDIS_URL'

/** Compiled sources lie beside each other as *.js, as the sources do as *.ts. */
const ENTRY = join(import.meta.dirname, '..', 'sidecar', import.meta.filename.endsWith('.ts') ? 'main.ts' : 'main.js')

export type SidecarFiles = { readonly config: string; readonly log: string }

/** Where the files of the sidecar `name` lie. */
export const sidecarFiles = (directory: string, name: string): SidecarFiles => ({
  config: join(directory, `${name}.json`),
  log: join(directory, `${name}.log`),
})

export const writeConfig = (file: string, config: SidecarConfigInput): Promise<void> =>
  writeFile(file, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })

/**
 * Starts a sidecar on the configuration file that is there; its log is appended to the log file.
 * @throws StartError
 */
export const startSidecar = (name: string, directory: string, files: SidecarFiles, redisUrl: string): Promise<Child> =>
  startChild({
    name,
    command: process.execPath,
    // A larger young generation costs memory and saves a fifth of the CPU time.
    args: ['--disable-warning=TimeoutNegativeWarning', '--max-semi-space-size=64', ENTRY, '--config', files.config],
    directory,
    environment: { ...process.env, [REDIS_URL_VARIABLE]: redisUrl },
    output: { file: files.log },
  })

/**
 * Asks a sidecar's /readyz until it is ready.
 * @param signal  ends the asking; its reason is thrown, after `onReason` was told why the sidecar is not ready
 */
export async function untilReady(
  adminUrl: string,
  signal: AbortSignal,
  onReason: (reason: string) => void,
): Promise<void> {
  let reason = 'it does not answer yet'
  for (;;) {
    try {
      const response = await fetch(`${adminUrl}/readyz`, { signal })
      reason = (await response.text()).trim()
      if (response.ok) return
    } catch {
      // Not listening yet, or the signal, which is looked at below.
    }
    if (signal.aborted) {
      onReason(reason)
      throw signal.reason
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
