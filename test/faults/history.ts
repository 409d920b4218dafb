/**
 * What a run leaves behind, as the checker reads it: the ledgers of clients and handlers, what the topics hold, what Redis
 * holds, every commit, and the faults. A call is named by its request's own id; requests with one idempotency key are one
 * call. Times are milliseconds since 1970 of the one machine that all of it runs on.
 */

/** A client's line, on disk before the request goes out. */
export interface Sent {
  /** Unique. */
  readonly request: string
  readonly call: string
  readonly at: number
  readonly deadlineMilliseconds: number
  /** Who ends it: the client by the deadline that it sent, or the proxy, where it sent none, by the method's. */
  readonly endedBy: 'Client' | 'Proxy'
  /** Number of the proxy that it went to. */
  readonly proxy: number
  readonly keyed: boolean
}

/** A client's line, on disk when it has its status. */
export interface Answered {
  readonly request: string
  readonly at: number
  /** From the request, on the client's monotonic clock. */
  readonly milliseconds: number
  /** How much too late the client's own event loop was altogether, while the status was due; for the proxy's deadlines from the request on. */
  readonly loopDelayMilliseconds: number
  readonly code: number
  readonly details: string
  /** Of an OK answer. */
  readonly reply?: string
  readonly callId?: string
}

/** How much too late a timer of a proxy fired. */
export interface ProxyDelay {
  readonly proxy: number
  readonly at: number
  readonly milliseconds: number
}

/** One start of a call in a handler; its line is on disk before the handler does anything. */
export interface Run {
  readonly call: string
  readonly callId: string
  readonly attempt: number
  readonly beganAt: number
  /** Absent: the handler was killed, or the line was. */
  readonly end?: { readonly at: number; readonly code: number; readonly reply: string }
}

/** A record on the calls' topic or one of its retry topics. */
export interface HeldRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly at: number
  readonly call: string
  readonly attempt: number
  readonly deadline: number
}

/** What Redis holds of a call at the end; `at` is when an outcome was stored. */
export type Stored =
  | { readonly call: string; readonly state: 'Claimed' | 'Enqueued' }
  | {
      readonly call: string
      readonly state: 'Answered' | 'DeadLettered'
      readonly at: number
      readonly code: number
      readonly details: string
      readonly reply: string | undefined
    }
  | { readonly call: string; readonly state: 'Expired'; readonly at: number; readonly started: 'No' | 'Unknown' }
  | { readonly call: string; readonly state: 'Cancelled'; readonly at: number }

/** In the order in which Kafka has them, for each partition. */
export interface Commit {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly at: number
}

/** From the blow until what was struck works again; a kill is a moment. */
export interface Fault {
  readonly kind: string
  readonly what: string
  readonly at: number
  readonly until: number
}

export interface History {
  readonly sent: readonly Sent[]
  readonly answered: readonly Answered[]
  readonly delays: readonly ProxyDelay[]
  readonly runs: readonly Run[]
  readonly records: readonly HeldRecord[]
  /** Calls that the failure topic holds. */
  readonly buried: ReadonlySet<string>
  readonly stored: readonly Stored[]
  readonly commits: readonly Commit[]
  readonly faults: readonly Fault[]
  /** Calls whose records were taken away with their topic: nothing is asked of these records. */
  readonly exempt: ReadonlySet<string>
}
