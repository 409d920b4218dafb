import type { CalculateService } from '../../crds/types.ts'
import type { SidecarConfigInput } from '../../sidecar/config.ts'
import { secretFile } from '../secret-file.ts'

type Callbacks = NonNullable<Extract<SidecarConfigInput, { readonly role: 'worker' }>['worker']['callbacks']>

/** Whom the workers of a service tell of outcomes, as they are told it; secrets are files. */
export function callbacksConfig(
  { callbacks }: CalculateService['spec'],
  secretsDirectory: string | undefined,
): Callbacks | undefined {
  if (callbacks === undefined) return undefined
  return {
    receivers: callbacks.receivers.map(({ secretRef, caSecretRef, ...receiver }) => ({
      ...receiver,
      secret: { file: secretFile(secretRef, secretsDirectory) },
      ...(caSecretRef === undefined ? {} : { caFile: secretFile(caSecretRef, secretsDirectory) }),
    })),
    giveUpAfterSeconds: callbacks.giveUpAfterSeconds,
  }
}
