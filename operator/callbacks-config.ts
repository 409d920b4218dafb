import type { CalculateService } from '../crds/types.ts'
import type { SidecarConfigInput } from '../sidecar/config.ts'
import type { Placement } from './placement.ts'
import { secretFile } from './secret-file.ts'

type Worker = Extract<SidecarConfigInput, { readonly role: 'worker' }>['worker']
type Receiver = NonNullable<Worker['callbacks']>['receivers'][number]

/** Receivers where there are no Secrets. */
export interface CallbackPlacement {
  /** The signing keys of all of them. */
  readonly secret: Receiver['secret']
  /** Beside the resource's. */
  readonly receivers: readonly Omit<Receiver, 'secret'>[]
}

/** Whom callers of a service may have told, as its workers are told it; secrets are files. Empty: nobody. */
export function callbackReceivers(
  { callbacks }: CalculateService['spec'],
  { callbacks: placed, secretsDirectory }: Pick<Placement, 'callbacks' | 'secretsDirectory'>,
): readonly Receiver[] {
  if (placed === 'None') return []
  const own = (callbacks?.receivers ?? []).map(({ secretRef, caSecretRef, ...receiver }) => ({
    ...receiver,
    secret: placed?.secret ?? { file: secretFile(secretRef, secretsDirectory) },
    ...(caSecretRef === undefined || placed !== undefined ? {} : { caFile: secretFile(caSecretRef, secretsDirectory) }),
  }))
  return [...own, ...(placed?.receivers ?? []).map((receiver) => ({ ...receiver, secret: placed!.secret }))]
}
