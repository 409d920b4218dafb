/** What went wrong with a request to the API server. */
export type KubeErrorCode =
  /** 404: the object, or the whole resource, is not there. */
  | 'NotFound'
  /** 409 where something is to be created. */
  | 'AlreadyExists'
  /** 409: the object is not as it was thought to be. */
  | 'Conflict'
  /** 410: what a list or watch wants to go on from is forgotten. */
  | 'Expired'
  /** 400, 413, 415, 422: the API server does not take this object. */
  | 'Invalid'
  /** 401: the API server does not know us. */
  | 'Unauthorized'
  /** 403: we may not, or the object's namespace is being deleted. */
  | 'Forbidden'
  /** 429: too many requests, also after waiting. */
  | 'TooManyRequests'
  /** Any other status: something is wrong inside or before the API server. */
  | 'ServerError'
  /** No answer in time. */
  | 'Timeout'
  /** No connection, or one that broke. */
  | 'Unreachable'
  /** An answer that is none. */
  | 'Malformed'
  /** The caller's signal was aborted. */
  | 'Aborted'
  /** This process is not the leader any more, and wrote nothing. */
  | 'NotLeading'

export class KubeError extends Error {
  readonly code: KubeErrorCode
  /** HTTP's status; absent where there was no answer. */
  readonly status?: number
  /** Kubernetes' own word, as `NamespaceTerminating` among its causes or `FieldManagerConflict`. */
  readonly reasons: readonly string[]

  constructor(
    code: KubeErrorCode,
    message: string,
    details: { readonly status?: number; readonly reasons?: readonly string[]; readonly cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'KubeError'
    this.code = code
    if (details.status !== undefined) this.status = details.status
    this.reasons = details.reasons ?? []
  }
}

/** Whether this is a KubeError of one of these codes. */
export const isKubeError = (error: unknown, ...codes: readonly KubeErrorCode[]): error is KubeError =>
  error instanceof KubeError && (codes.length === 0 || codes.includes(error.code))

interface StatusBody {
  readonly message?: string
  readonly reason?: string
  readonly details?: { readonly causes?: readonly { readonly reason?: string }[] }
}

/**
 * The error that an answer means.
 * @param what was asked, for the message.
 * @param body an object of kind `Status` as JSON, or whatever stands before the API server said.
 */
export function errorOfAnswer(what: string, status: number, body: string): KubeError {
  const { message, reason, details } = parseStatus(body)
  const causes = details?.causes?.map((cause) => cause.reason) ?? []
  const reasons = [reason, ...causes].filter((one) => one !== undefined && one !== '') as string[]
  return new KubeError(codeOf(status, reason), `${what}: ${message ?? `HTTP ${status}`}`, { status, reasons })
}

function parseStatus(body: string): StatusBody {
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed === 'object' && parsed !== null) return parsed
  } catch {
    // A proxy between us and the API server answers in words of its own.
  }
  const text = body.trim().slice(0, 200)
  return text === '' ? {} : { message: text }
}

function codeOf(status: number, reason: string | undefined): KubeErrorCode {
  switch (status) {
    case 400:
    case 413:
    case 415:
    case 422:
      return 'Invalid'
    case 401:
      return 'Unauthorized'
    case 403:
      return 'Forbidden'
    case 404:
      return 'NotFound'
    case 409:
      return reason === 'AlreadyExists' ? 'AlreadyExists' : 'Conflict'
    case 410:
      return 'Expired'
    case 429:
      return 'TooManyRequests'
    default:
      return 'ServerError'
  }
}
