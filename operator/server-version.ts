/**
 * The oldest Kubernetes that the operator works with: 1.29 is the first that starts and ends native sidecars as such
 * without a feature gate (kubernetes.io, "Sidecar Containers").
 */
const OLDEST = { major: 1, minor: 29 } as const

/** What `/version` answers; managed clusters write `29+`. */
export interface ServerVersion {
  readonly major?: string
  readonly minor?: string
  readonly gitVersion?: string
}

/** Why the operator cannot work with this API server, or undefined. A version that cannot be read is tried. */
export function tooOld({ major = '', minor = '', gitVersion }: ServerVersion): string | undefined {
  const [first, second] = [major, minor].map((part) => Number.parseInt(part, 10)) as [number, number]
  const old = first < OLDEST.major || (first === OLDEST.major && second < OLDEST.minor)
  if (!old) return undefined
  return `the API server is ${gitVersion ?? `${major}.${minor}`}; ${OLDEST.major}.${OLDEST.minor} is the oldest that starts native sidecars`
}
