/** Our CustomResourceDefinitions in a cluster. */
import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parse } from 'yaml'
import type { KubeApi } from './kube-api.ts'

const FOLDER = resolve(import.meta.dirname, '..', '..', 'crds')
const PATH = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const RETRY_MILLISECONDS = 50

/** The part of a definition that is needed to install it. */
export type CustomResourceDefinition = {
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly group: string
    readonly names: { readonly kind: string; readonly plural: string }
    readonly versions: readonly { readonly name: string }[]
  }
}

/** The documents of `crds/*.yaml`, ordered by file name. */
export const readDefinitionFiles = (): readonly CustomResourceDefinition[] =>
  readdirSync(FOLDER)
    .filter((file) => file.endsWith('.yaml'))
    .sort()
    .map((file) => parse(readFileSync(resolve(FOLDER, file), 'utf8')) as CustomResourceDefinition)

/**
 * Applies every definition and waits until the API server serves its resources.
 *
 * @returns what the API server warned of
 * @throws KubeRefusedError; the signal's reason
 */
export async function installDefinitions(api: KubeApi, signal: AbortSignal): Promise<readonly string[]> {
  const definitions = readDefinitionFiles()
  const warnings: string[] = []
  for (const definition of definitions) {
    const { name } = definition.metadata
    const answer = await api.request('PATCH', `${PATH}/${name}?fieldManager=definitions&force=true`, {
      body: definition,
      contentType: 'application/apply-patch+yaml',
      signal,
    })
    warnings.push(...answer.warnings.map((warning) => `${name}: ${warning}`))
  }
  for (const { spec } of definitions) {
    for (const { name: version } of spec.versions)
      await untilServed(api, `${spec.group}/${version}`, spec.names.plural, signal)
  }
  return warnings
}

/** `Established` comes a moment before the resources are served. */
async function untilServed(api: KubeApi, groupVersion: string, plural: string, signal: AbortSignal): Promise<void> {
  const served = async (): Promise<boolean> => {
    await api.request('GET', `/apis/${groupVersion}/${plural}?limit=1`, { signal })
    return true
  }
  while (!(await served().catch(() => false))) {
    signal.throwIfAborted()
    await pause(RETRY_MILLISECONDS, undefined, { signal })
  }
}
