import { writeFile } from 'node:fs/promises'
import type { KubeAccess } from './kube-api.ts'

/** Writes a kubeconfig for kubectl and whoever else calls an API server as this user. Only its owner can read it. */
export async function writeKubeconfig(file: string, access: KubeAccess, namespace = 'default'): Promise<void> {
  const name = 'local'
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server: access.url, 'certificate-authority': access.authorityFile } }],
    users: [{ name, user: { token: access.token } }],
    contexts: [{ name, context: { cluster: name, user: name, namespace } }],
    'current-context': name,
  }
  await writeFile(file, JSON.stringify(config), { mode: 0o600 })
}
