/** The programs of Kubernetes' control plane: found, or built from Go modules. */
import { accessSync, constants } from 'node:fs'
import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Report } from '../report.ts'
import { ensureGoProgram, type GoProgram } from './go.ts'
import { PartFailedError } from './part-failed.ts'

const VERSION = '1.35.4'
const NAMES = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kubectl'] as const

/** The path of each. */
export type KubernetesPrograms = Readonly<Record<(typeof NAMES)[number], string>>

const stamp = (name: string, value: string): string => `-X k8s.io/component-base/version.${name}=${value}`
const [major = '', minor = ''] = VERSION.split('.')

const PROGRAM: GoProgram = {
  title: `Kubernetes ${VERSION}`,
  name: `kubernetes-${VERSION}`,
  module: 'kube',
  package: '.',
  file: 'kube',
  linkerFlags: [stamp('gitVersion', `v${VERSION}`), stamp('gitMajor', major), stamp('gitMinor', minor)].join(' '),
  remedies: [`use programs that are there: KUBEBUILDER_ASSETS=DIR with ${NAMES.join(', ')} of one version`],
}

/**
 * Those of KUBEBUILDER_ASSETS, else built once and cached.
 * @throws PartMissingError; PartFailedError where KUBEBUILDER_ASSETS does not have all of them
 */
export async function ensureKubernetes(
  report: Report,
  signal?: AbortSignal,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<KubernetesPrograms> {
  const given = environment['KUBEBUILDER_ASSETS'] || undefined
  const directory = given ?? (await ensureGoProgram(PROGRAM, report, { finish: linkNames, signal }))
  const missing = NAMES.filter((name) => !isExecutable(join(directory, name)))
  if (missing.length > 0) {
    // Not mixed with ours: a controller-manager must not be newer than its API server.
    const way = 'add what is missing, of the same version, or leave it unset: then Go builds all of them'
    throw new PartFailedError(
      'Kubernetes',
      `KUBEBUILDER_ASSETS=${directory} has no ${missing.join(', no ')}: ${way}`,
      '',
    )
  }
  return Object.fromEntries(NAMES.map((name) => [name, join(directory, name)])) as KubernetesPrograms
}

/** The one binary is whichever it is called as. */
async function linkNames(directory: string): Promise<void> {
  for (const name of NAMES) await symlink(PROGRAM.file, join(directory, name))
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
