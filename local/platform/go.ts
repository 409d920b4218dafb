/** Programs that are built here from Go modules: which ones is pinned by a go.mod and a go.sum of this tree. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { findOnPath } from '../bootstrap/which.mjs'
import type { Report } from '../report.ts'
import { cached } from './cache.ts'
import { installPackages, mayInstall } from './debian.ts'
import { PartMissingError } from './part-missing.ts'
import { runTool } from './tool.ts'

/** From here on Go fetches by itself the version that a go.mod asks for, where it is not told to stay as it is. */
const OLDEST = { major: 1, minor: 21 }
const DEBIAN_PACKAGE = 'golang-go'
/** Lines of a build (a module downloaded, a package compiled) between two of progress. */
const LINES_PER_REPORT = 250

export type GoProgram = {
  /** What people call it, with its version: "Kubernetes 1.35.4". */
  readonly title: string
  /** Names the cached folder: "kubernetes-1.35.4". */
  readonly name: string
  /** The folder with its go.mod, below `local/platform/go`. */
  readonly module: string
  /** The package in it, or an import path. */
  readonly package: string
  /** The name of the file that is built. */
  readonly file: string
  readonly linkerFlags?: string
  /** What may be done instead where it cannot be built. */
  readonly remedies: readonly string[]
}

/**
 * Builds a program once for this version of its module, with whatever Go there is, else Debian's.
 *
 * @param finish  adds what else belongs into the folder
 * @returns the cached folder that holds it
 * @throws PartMissingError
 */
export async function ensureGoProgram(
  program: GoProgram,
  report: Report,
  options: { readonly finish?: (directory: string) => Promise<void>; readonly signal?: AbortSignal | undefined } = {},
): Promise<string> {
  const source = resolve(import.meta.dirname, 'go', program.module)
  const name = `${program.name}-${await fingerprint(source, program)}`
  return cached(
    name,
    async (directory) => {
      await build(program, source, directory, report, options.signal)
      await options.finish?.(directory)
    },
    { report },
  )
}

/** A changed source, pin or flag is another program. */
async function fingerprint(source: string, program: GoProgram): Promise<string> {
  const hash = createHash('sha256').update(`${program.package} ${program.linkerFlags}`)
  for (const file of (await readdir(source)).sort()) hash.update(await readFile(join(source, file)))
  return hash.digest('hex').slice(0, 12)
}

async function build(
  program: GoProgram,
  source: string,
  directory: string,
  report: Report,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { title, linkerFlags = '' } = program
  const started = Date.now()
  const go = await ensureGo(program, report, signal)
  report(`setup: ${title}: building it from Go modules, once; with nothing cached this takes minutes`)
  let [downloaded, compiled] = [0, 0]
  const onLine = (line: string): void => {
    if (line.startsWith('go: downloading')) downloaded += 1
    else compiled += 1
    if ((downloaded + compiled) % LINES_PER_REPORT !== 0) return
    report(`setup: ${title}: ${downloaded} modules downloaded, ${compiled} packages compiled`)
  }
  const scratch = join(directory, '.scratch')
  await mkdir(scratch)
  try {
    await runTool(
      go,
      [
        ['build', '-v', '-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', `-s -w ${linkerFlags}`.trim()],
        ['-o', join(directory, program.file), program.package],
      ].flat(),
      {
        directory: source,
        // Without C: what is built needs nothing of this machine's libraries, and no compiler for C to build it.
        environment: { ...process.env, CGO_ENABLED: '0', GOWORK: 'off', GOTMPDIR: scratch },
        signal,
        onLine,
      },
    )
  } catch (cause) {
    signal?.throwIfAborted()
    throw new PartMissingError(
      title,
      `it could not be built from its Go modules\n${(cause as Error).message}`,
      ['make a Go module proxy reachable (GOPROXY)', ...program.remedies],
      { cause },
    )
  }
  await rm(scratch, { recursive: true })
  report(`setup: ${title}: built in ${((Date.now() - started) / 1000).toFixed(0)} s`)
}

async function ensureGo(program: GoProgram, report: Report, signal: AbortSignal | undefined): Promise<string> {
  const refuse = (reason: string, options?: ErrorOptions): PartMissingError =>
    new PartMissingError(
      program.title,
      reason,
      [`install Go ${OLDEST.major}.${OLDEST.minor} or newer and put it on PATH`, ...program.remedies],
      options,
    )
  const found = findOnPath('go')
  if (found !== undefined) {
    const version = await goVersion(found)
    if (!isNewEnough(version)) throw refuse(`${found} is ${version}, which is too old to build it`)
    return found
  }
  if (!mayInstall()) throw refuse('go is not on PATH, and this is not root on Debian')
  try {
    const candidate = await debianCandidate()
    if (candidate !== undefined && !isNewEnough(candidate)) {
      throw refuse(`go is not on PATH, and Debian's is too old to build it (${candidate})`)
    }
    await installPackages([DEBIAN_PACKAGE], report, signal)
  } catch (cause) {
    signal?.throwIfAborted()
    if (cause instanceof PartMissingError) throw cause
    throw refuse(`go is not on PATH\n${(cause as Error).message}`, { cause })
  }
  const installed = findOnPath('go')
  if (installed === undefined) throw refuse(`the package ${DEBIAN_PACKAGE} brought no go`)
  const version = await goVersion(installed)
  if (!isNewEnough(version)) throw refuse(`the package ${DEBIAN_PACKAGE} brought ${version}, too old to build it`)
  return installed
}

/** "go version go1.26.8 linux/amd64", of this Go itself and not of one that it would fetch. */
async function goVersion(go: string): Promise<string> {
  const environment = { ...process.env, GOTOOLCHAIN: 'local' }
  return (await promisify(execFile)(go, ['version'], { env: environment })).stdout.trim()
}

/** The version that apt would install ("2:1.19~1"); undefined where its lists name none (yet). */
async function debianCandidate(): Promise<string | undefined> {
  const { stdout } = await promisify(execFile)('apt-cache', ['policy', DEBIAN_PACKAGE])
  const candidate = /^\s*Candidate:\s*(\S+)/m.exec(stdout)?.[1]
  return candidate === '(none)' ? undefined : candidate
}

/** @param version  Go's own words, or a version of Debian's package; what cannot be read is left to the build */
export function isNewEnough(version: string): boolean {
  const [, major, minor] = /(?:\bgo|^\d+:|^)(\d+)\.(\d+)/.exec(version) ?? []
  if (major === undefined || minor === undefined) return true
  return Number(major) > OLDEST.major || (Number(major) === OLDEST.major && Number(minor) >= OLDEST.minor)
}
