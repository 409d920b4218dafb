/** What whoever runs a cluster may forbid in it: a ValidatingAdmissionPolicy for one namespace. */
import type { TestContext } from 'node:test'
import { KubeRefusedError } from '../../../local/platform/kube-api.ts'
import { atEnd } from '../../integration/support/clean-up.ts'
import type { Namespace } from './namespace.ts'
import { until } from './until.ts'

const ROOT = '/apis/admissionregistration.k8s.io/v1'

/** No Service of this name may be made in the namespace from now on. Gone with the test. */
export async function forbidService(
  t: TestContext,
  { cluster, name: namespace }: Namespace,
  service: string,
  message: string,
): Promise<void> {
  const name = `${namespace}-${service}`
  const write = (plural: string, kind: string, spec: object) =>
    cluster.api.request('POST', `${ROOT}/${plural}`, {
      body: { apiVersion: 'admissionregistration.k8s.io/v1', kind, metadata: { name }, spec },
    })
  const remove = (plural: string) => cluster.api.request('DELETE', `${ROOT}/${plural}/${name}`)
  await write('validatingadmissionpolicies', 'ValidatingAdmissionPolicy', {
    matchConstraints: {
      resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['services'] }],
    },
    validations: [{ expression: `object.metadata.name != '${service}'`, message }],
  })
  atEnd(t, () => remove('validatingadmissionpolicies'))
  await write('validatingadmissionpolicybindings', 'ValidatingAdmissionPolicyBinding', {
    policyName: name,
    validationActions: ['Deny'],
    matchResources: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } },
  })
  atEnd(t, () => remove('validatingadmissionpolicybindings'))
  const body = { apiVersion: 'v1', kind: 'Service', metadata: { name: service }, spec: { ports: [{ port: 80 }] } }
  await until('the policy counts', () =>
    cluster.api.request('POST', `/api/v1/namespaces/${namespace}/services?dryRun=All`, { body }).then(
      () => false,
      (error: unknown) => error instanceof KubeRefusedError && error.message.includes(message),
    ),
  )
}
