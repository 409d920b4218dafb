/**
 * Every way in which the sidecar itself ends a call, and the gRPC status that it becomes: one table, and nothing else
 * leaks to a caller. A handler's own status never passes through here.
 */

/** gRPC status codes by name (github.com/grpc/grpc/blob/master/doc/statuscodes.md). */
export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const

export type GrpcStatusName = keyof typeof GrpcStatus
export const GRPC_STATUS_NAMES = Object.keys(GrpcStatus) as readonly GrpcStatusName[]

interface ErrorEntry {
  readonly status: GrpcStatusName
  /** What the caller reads. Says what to do where the caller can do something. */
  readonly message: string
  /** A refusal before Kafka: this request did not run. */
  readonly refusal: boolean
}

export const ERRORS = {
  DEADLINE_PASSED: {
    status: 'DEADLINE_EXCEEDED',
    message: 'no result before the deadline; the call may still run',
    refusal: false,
  },
  DEADLINE_BEFORE_START: {
    status: 'DEADLINE_EXCEEDED',
    message: 'the deadline passed before the call was put on Kafka; it did not run',
    refusal: true,
  },
  EXPIRED_NOT_STARTED: {
    status: 'DEADLINE_EXCEEDED',
    message: 'the deadline passed before a worker could start the call; it did not run',
    refusal: false,
  },
  EXPIRED: {
    status: 'DEADLINE_EXCEEDED',
    message: 'the deadline passed before a worker finished the call',
    refusal: false,
  },
  CALL_CANCELLED: { status: 'CANCELLED', message: 'the call was cancelled', refusal: false },
  RATE_LIMITED: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'the limit rateLimit.requestsPerSecond of this replica is reached',
    refusal: true,
  },
  TOO_MANY_WAITING: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'the limit rateLimit.maxWaiting of this replica is reached',
    refusal: true,
  },
  TOO_MANY_IN_FLIGHT: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'the limit proxy.maxInFlight of this replica is reached',
    refusal: true,
  },
  TOO_MANY_BYTES: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'the limit on request bytes in flight of this replica is reached',
    refusal: true,
  },
  QUEUE_TOO_LONG: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'the queue is too long: the estimated wait is longer than what is left of the deadline',
    refusal: true,
  },
  REQUEST_TOO_LARGE: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'the request is larger than maxMessageBytes',
    refusal: true,
  },
  RESULT_TOO_LARGE: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'the result is larger than maxMessageBytes',
    refusal: false,
  },
  METADATA_TOO_LARGE: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'the metadata that travels with the call is larger than 32 KiB or has more than 100 values',
    refusal: true,
  },
  IDEMPOTENCY_KEY_INVALID: {
    status: 'INVALID_ARGUMENT',
    message:
      'the metadata field idempotency-key must be one value of 1 to 255 printable ASCII characters without a comma',
    refusal: true,
  },
  IDEMPOTENCY_KEY_REUSED: {
    status: 'FAILED_PRECONDITION',
    message: 'the idempotency key belongs to another request; use a new key for a new request',
    refusal: true,
  },
  CALLBACK_NOT_ALLOWED: {
    status: 'INVALID_ARGUMENT',
    message: "the metadata field grpc-kafka-callback-url must be one URL of a receiver of the service's callbacks",
    refusal: true,
  },
  CALL_ID_INVALID: {
    status: 'INVALID_ARGUMENT',
    message: 'a call id is a UUID, as in the metadata grpc-kafka-call-id',
    refusal: false,
  },
  CALL_NOT_FOUND: {
    status: 'NOT_FOUND',
    message: 'no call of this id is known here, or no more',
    refusal: false,
  },
  TOO_MANY_LOOKUPS: {
    status: 'RESOURCE_EXHAUSTED',
    message: 'too many ask this replica for results; try another, or later',
    refusal: false,
  },
  RESULTS_UNAVAILABLE: {
    status: 'UNAVAILABLE',
    message: 'Redis, which has the results, does not answer',
    refusal: false,
  },
  DRAINING: { status: 'UNAVAILABLE', message: 'this replica is shutting down; try another', refusal: true },
  CUT_OFF: {
    status: 'UNAVAILABLE',
    message: 'this replica shut down before the result came; the call may still run',
    refusal: false,
  },
  NOT_READY: {
    status: 'UNAVAILABLE',
    message: 'this replica does not know Kafka and Redis yet; try again',
    refusal: true,
  },
  KAFKA_UNAVAILABLE: { status: 'UNAVAILABLE', message: 'Kafka did not take the call', refusal: false },
  UNREADABLE_RECORD: {
    status: 'INTERNAL',
    message: 'the record of the call could not be read; it is on the failure topic',
    refusal: false,
  },
  METHOD_NOT_SERVED: {
    status: 'UNIMPLEMENTED',
    message: 'no worker serves this method; the record is on the failure topic',
    refusal: false,
  },
  ATTEMPTS_USED_UP: {
    status: 'UNAVAILABLE',
    message: 'the call was started as often as its policy allows without an answer',
    refusal: false,
  },
  HANDLER_UNREACHABLE: {
    status: 'UNAVAILABLE',
    message: 'the connection to the handler broke before it answered',
    refusal: false,
  },
  HANDLER_TIMEOUT: { status: 'DEADLINE_EXCEEDED', message: 'the handler did not answer in time', refusal: false },
  HANDLER_PROTOCOL: { status: 'INTERNAL', message: 'the handler answered something that is not gRPC', refusal: false },
  RESULT_UNREADABLE: { status: 'INTERNAL', message: 'the stored result could not be read', refusal: false },
  INTERNAL: { status: 'INTERNAL', message: 'internal error', refusal: false },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERRORS
