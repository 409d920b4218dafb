import { readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parseAllDocuments } from 'yaml'
import type { CalculateService, ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import { validateResource } from '../../crds/validate.ts'
import { problemAt, ResourcesError, type Located, type Origin } from './origin.ts'

/** What the given files hold. */
export type Loaded = {
  readonly services: readonly Located<CalculateService>[]
  readonly groups: readonly Located<ConsumerGroup>[]
  readonly policies: readonly Located<RetryPolicy>[]
  /** "Deployment web": kinds that are not ours, which kubectl takes and local mode leaves alone. */
  readonly ignored: readonly string[]
  /** Protocol buffer files that lie beside them. */
  readonly protoFiles: readonly string[]
}

/**
 * Reads resources as `kubectl apply -f` does: each path is a file, or a folder of which every *.yaml, *.yml and *.json
 * is read (and every *.proto is noted).
 *
 * @throws ResourcesError with every problem of every file
 */
export async function loadResources(paths: readonly string[]): Promise<Loaded> {
  const problems: string[] = []
  const services: Located<CalculateService>[] = []
  const groups: Located<ConsumerGroup>[] = []
  const policies: Located<RetryPolicy>[] = []
  const ignored: string[] = []
  const { manifests, protoFiles } = await listFiles(paths, problems)

  for (const file of manifests) {
    for (const { value, origin, problem } of await readDocuments(file)) {
      if (problem !== undefined) {
        problems.push(problemAt(origin, problem))
        continue
      }
      if (!isOurs(value)) {
        ignored.push(origin.title === '' ? `document ${origin.document} of ${file}` : origin.title)
        continue
      }
      const checked = validateResource(value)
      if (!checked.ok) {
        for (const line of checked.problems) problems.push(problemAt(origin, line))
        continue
      }
      const { resource } = checked
      switch (resource.kind) {
        case 'CalculateService':
          services.push({ resource, origin })
          break
        case 'ConsumerGroup':
          groups.push({ resource, origin })
          break
        case 'RetryPolicy':
          policies.push({ resource, origin })
          break
      }
    }
  }
  problems.push(...duplicates([...services, ...groups, ...policies]))
  if (problems.length === 0 && services.length === 0) problems.push(`no CalculateService is in ${paths.join(', ')}`)
  if (problems.length > 0) throw new ResourcesError(problems)
  return { services, groups, policies, ignored, protoFiles }
}

async function listFiles(paths: readonly string[], problems: string[]) {
  const manifests: string[] = []
  const protoFiles: string[] = []
  for (const path of paths) {
    const full = resolve(path)
    try {
      if (!(await stat(full)).isDirectory()) {
        manifests.push(full)
        continue
      }
      const names = (await readdir(full)).sort()
      const here = names.filter(
        (name) => /\.(ya?ml|json)$/.test(name) && !/^(package(-lock)?|tsconfig)\.json$/.test(name),
      )
      if (here.length === 0) problems.push(`${path}: the folder has no *.yaml, *.yml or *.json file`)
      manifests.push(...here.map((name) => join(full, name)))
      protoFiles.push(...names.filter((name) => name.endsWith('.proto')).map((name) => join(full, name)))
    } catch (cause) {
      problems.push(`${path}: cannot be read (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`)
    }
  }
  return { manifests: [...new Set(manifests)], protoFiles: [...new Set(protoFiles)] }
}

type Document = { readonly value: unknown; readonly origin: Origin; readonly problem?: string }

async function readDocuments(file: string): Promise<readonly Document[]> {
  const text = await readFile(file, 'utf8')
  const documents = parseAllDocuments(text)
  return (Array.isArray(documents) ? documents : []).flatMap((document, index): Document[] => {
    const origin: Origin = { file, directory: dirname(file), document: index + 1, title: '' }
    const [error] = document.errors
    if (error) return [{ value: undefined, origin, problem: error.message.split('\n', 1)[0] ?? error.code }]
    let value: unknown
    try {
      value = document.toJS() as unknown
      // Throws where an alias makes a value hold itself, which is no JSON and so no resource.
      JSON.stringify(value)
    } catch (cause) {
      return [{ value: undefined, origin, problem: (cause as Error).message.split('\n', 1)[0] ?? '' }]
    }
    // Nothing between two `---`, as kubectl sees it.
    if (value === null) return []
    return [{ value, origin: { ...origin, title: titleOf(value) } }]
  })
}

const titleOf = (value: unknown): string => {
  const { kind, metadata } = (typeof value === 'object' && value !== null ? value : {}) as {
    readonly kind?: unknown
    readonly metadata?: { readonly name?: unknown } | null
  }
  if (typeof kind !== 'string') return ''
  return typeof metadata?.name === 'string' ? `${kind} ${metadata.name}` : kind
}

/** A well-formed object of another API group is somebody else's; anything else is for the validation to judge. */
function isOurs(value: unknown): boolean {
  const { apiVersion, kind } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  const other = typeof apiVersion === 'string' && typeof kind === 'string' && !apiVersion.startsWith('grpckafka.dev/')
  return !other || ['CalculateService', 'ConsumerGroup', 'RetryPolicy'].includes(kind)
}

/** Resources whose namespace is not said are in the same one, whatever it is called. */
export const namespaceOf = ({ metadata }: { readonly metadata: { readonly namespace?: string } }): string =>
  metadata.namespace ?? 'default'

function duplicates(all: readonly Located<CalculateService | ConsumerGroup | RetryPolicy>[]): string[] {
  const seen = new Map<string, Origin>()
  return all.flatMap(({ resource, origin }) => {
    const key = `${resource.kind} ${namespaceOf(resource)}/${resource.metadata.name}`
    const first = seen.get(key)
    if (first) return [problemAt(origin, `metadata.name: is already in ${first.file}, document ${first.document}`)]
    seen.set(key, origin)
    return []
  })
}
