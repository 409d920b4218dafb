/**
 * The folders' one-way dependencies, checked over the import statements themselves.
 */
import { readFile } from 'node:fs/promises'
import { dirname, posix } from 'node:path'
import type { Check } from './check.ts'
import { committedFiles } from './committed-files.ts'

/** What a folder (or a single file) may import of ours beside itself: prefixes of paths. */
const MAY_IMPORT: readonly { readonly from: string; readonly ours: readonly string[] }[] = [
  { from: 'crds/', ours: [] },
  { from: 'sidecar/', ours: [] },
  {
    from: 'operator/',
    ours: [
      'crds/',
      'sidecar/config.ts',
      'sidecar/hot-settings.ts',
      'sidecar/kafka/cluster.ts',
      'sidecar/kafka/idle-timer.ts',
      'sidecar/kafka/topic-names.ts',
      'sidecar/retry-pauses.ts',
    ],
  },
  { from: 'local/', ours: ['crds/', 'operator/', 'sidecar/', 'examples/'] },
  { from: 'examples/', ours: [] },
  { from: 'test/', ours: ['crds/', 'operator/', 'sidecar/', 'local/', 'examples/'] },
]

/** Packages that stay behind an interface of ours: where they may be imported. Types count too. */
const PACKAGE_PLACES: Readonly<Record<string, readonly string[]>> = {
  kafkajs: ['sidecar/kafka/', 'operator/kafka/', 'local/kafka/', 'test/'],
  ioredis: ['sidecar/results/', 'local/', 'test/'],
  '@bufbuild/cel': ['crds/'],
  ajv: ['crds/'],
}

export interface Import {
  readonly specifier: string
  readonly line: number
}

/** `import ... from 'x'`, `export ... from 'x'`, `import 'x'`, and `import('x')`, wherever a statement may begin. */
const IMPORT =
  /^[ \t]*(?:import|export)\s(?:[^'"`;]*?\sfrom\s*)?(['"])(?<statement>[^'"\n]+)\1|\bimport\(\s*(['"])(?<call>[^'"\n]+)\3\s*[,)]/gm

/** The imports of one source text, in order. */
export function findImports(text: string): readonly Import[] {
  return [...text.matchAll(IMPORT)].map((match) => {
    const specifier = (match.groups?.['statement'] ?? match.groups?.['call'])!
    return { specifier, line: text.slice(0, match.index + match[0].lastIndexOf(specifier)).split('\n').length }
  })
}

/** Why a file may not import this, or undefined where it may. Paths are relative to the root, with slashes. */
export function refuseImport(file: string, specifier: string): string | undefined {
  const rule = MAY_IMPORT.find(({ from }) => file.startsWith(from))
  if (rule === undefined) return 'stands in no folder of the architecture'
  if (specifier.startsWith('/') || specifier.startsWith('file:')) return 'imports by absolute path'
  if (specifier.startsWith('node:')) return undefined
  if (specifier.startsWith('.')) {
    const target = posix.normalize(posix.join(dirname(file), specifier))
    if (target.startsWith('../')) return `imports ${target} from outside the repository`
    const allowed = [rule.from, ...rule.ours]
    if (allowed.some((place) => target.startsWith(place))) return undefined
    return `imports ${target}; ${rule.from} may import ${rule.ours.length === 0 ? 'only itself' : `only itself and ${rule.ours.join(', ')}`}`
  }
  const name = specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : specifier.split('/')[0]!
  const places = Object.hasOwn(PACKAGE_PLACES, name) ? PACKAGE_PLACES[name]! : undefined
  if (places === undefined || places.some((place) => file.startsWith(place))) return undefined
  return `imports ${name}, which stays in ${places.join(', ')}`
}

/** One line for each import that points the wrong way. */
export function importProblems(file: string, text: string): readonly string[] {
  return findImports(text).flatMap(({ specifier, line }) => {
    const problem = refuseImport(file, specifier)
    return problem === undefined ? [] : [`${file}:${line} ${problem}`]
  })
}

export const importDirections: Check = {
  name: 'imports',
  async run(root) {
    const files = (await committedFiles(root)).filter((file) => /\.(ts|mts|mjs|js)$/.test(file))
    const problems = await Promise.all(
      files.map(async (file) => importProblems(file, await readFile(`${root}/${file}`, 'utf8'))),
    )
    return problems.flat()
  },
}
