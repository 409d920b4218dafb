import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { findOnPath } from '../bootstrap/which.mjs'
import { withLock } from '../bootstrap/lock.mjs'
import type { Report } from '../report.ts'
import { runTool } from './tool.ts'

/** Whether packages of Debian (or a child of it) can be looked up here. */
export const hasApt = (): boolean => findOnPath('apt-get') !== undefined && findOnPath('dpkg') !== undefined

/** Whether this process may install packages. */
export const mayInstall = (): boolean => hasApt() && process.getuid?.() === 0

const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
/** Another apt may hold dpkg's lock, as on a machine that has just booted: wait for it. */
const patient = ['-o', 'DPkg::Lock::Timeout=300']

/**
 * Installs packages on this machine. The lists are refreshed when a package is not known.
 * @throws ToolError with apt's own words
 */
export function installPackages(names: readonly string[], report: Report, signal?: AbortSignal): Promise<void> {
  return oneAtATime(async () => {
    report(`setup: apt-get install ${names.join(' ')}`)
    const install = (): Promise<void> =>
      runTool('apt-get', [...patient, 'install', '-y', '--no-install-recommends', ...names], {
        environment,
        signal,
        onLine: (line) => {
          if (/^(Get:|Setting up )/.test(line)) report(`setup:   ${line}`)
        },
      })
    await withFreshLists(install, report, signal)
  })
}

/**
 * apt locks its lists and its archives and, of several at once, waits only for the latter: here one waits for the other.
 */
const oneAtATime = <T>(work: () => Promise<T>): Promise<T> => withLock('apt', work)

/**
 * Unpacks packages, and of what they need whatever this machine lacks, into a folder; the machine itself is left alone:
 * nothing is installed and no service is started. Needs no root, only lists that know the packages.
 * @throws ToolError with apt's own words
 */
export async function unpackPackages(
  names: readonly string[],
  into: string,
  report: Report,
  signal?: AbortSignal,
): Promise<void> {
  const archives = join(into, '.archives')
  await mkdir(join(archives, 'partial'), { recursive: true })
  report(`setup: downloading Debian packages ${names.join(' ')}`)
  const download = (): Promise<void> =>
    runTool(
      'apt-get',
      [
        ['-o', `Dir::Cache::archives=${archives}`, '-o', 'Debug::NoLocking=true', '-o', 'APT::Sandbox::User=root'],
        ['install', '-y', '--download-only', '--reinstall', '--no-install-recommends', ...names],
      ].flat(),
      {
        environment,
        signal,
        onLine: (line) => {
          if (line.startsWith('Get:')) report(`setup:   ${line}`)
        },
      },
    )
  await oneAtATime(() => withFreshLists(download, report, signal))
  for (const file of await readdir(archives)) {
    if (file.endsWith('.deb')) await runTool('dpkg', ['-x', join(archives, file), into], { signal })
  }
  await rm(archives, { recursive: true, force: true })
}

async function withFreshLists(work: () => Promise<void>, report: Report, signal?: AbortSignal): Promise<void> {
  try {
    await work()
  } catch (error) {
    // Lists that are missing or old name packages that are not there any more.
    if (!mayInstall() || signal?.aborted) throw error
    report('setup: apt-get update')
    await runTool('apt-get', [...patient, 'update'], { environment, signal })
    await work()
  }
}
