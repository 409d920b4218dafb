import { readFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Check } from './check.ts'

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}
interface Lock {
  readonly packages: Readonly<Record<string, { readonly resolved?: string; readonly integrity?: string } | Manifest>>
}

/** Why a lock file would not install the same everywhere, from whichever registry npm is set to. */
export function lockProblems(manifestText: string, lockText: string): readonly string[] {
  const manifest = JSON.parse(manifestText) as Manifest
  const lock = JSON.parse(lockText) as Lock
  const problems: string[] = []
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '') continue
    if ('resolved' in entry) problems.push(`package-lock.json: ${path} holds a registry's address ("resolved")`)
    if (!('integrity' in entry)) problems.push(`package-lock.json: ${path} has no integrity`)
  }
  for (const group of ['dependencies', 'devDependencies', 'optionalDependencies'] as const) {
    const wanted = manifest[group] ?? {}
    for (const [name, version] of Object.entries(wanted)) {
      if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) {
        problems.push(`package.json: ${group}.${name} is ${version}, not one exact version`)
      }
    }
    const locked = (lock.packages[''] as Manifest | undefined)?.[group] ?? {}
    if (!isDeepStrictEqual(locked, wanted)) {
      problems.push(`package-lock.json: ${group} are not those of package.json: run npm install`)
    }
  }
  return problems
}

export const lockFile: Check = {
  name: 'lock file',
  async run(root) {
    const read = (file: string) => readFile(`${root}/${file}`, 'utf8')
    return lockProblems(await read('package.json'), await read('package-lock.json'))
  },
}
