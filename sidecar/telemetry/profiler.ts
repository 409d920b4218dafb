import { Session } from 'node:inspector/promises'
import { setTimeout as pause } from 'node:timers/promises'

/** `cpu`: where time is spent. `heap`: what allocates and is still held, sampled. */
export type ProfileKind = 'cpu' | 'heap'

/** Thrown while another profile is being taken. */
export class ProfilerBusyError extends Error {
  readonly code = 'PROFILER_BUSY'
  constructor() {
    super('a profile is being taken already')
    this.name = 'ProfilerBusyError'
  }
}

const SAMPLING_INTERVAL_BYTES = 32_768

/**
 * Profiles of this process in V8's own JSON, which Chrome's DevTools and VS Code open (`.cpuprofile`, `.heapprofile`). They hold
 * names of functions and files, and numbers. There is no heap snapshot: that holds every string of the process, so passwords
 * and requests too, and stops it for seconds.
 */
export class Profiler {
  #busy = false

  /**
   * @param seconds how long is looked at.
   * @param signal ends it early, without a profile.
   * @throws ProfilerBusyError, or the signal's reason.
   */
  async take(kind: ProfileKind, seconds: number, signal: AbortSignal): Promise<string> {
    if (this.#busy) throw new ProfilerBusyError()
    this.#busy = true
    const session = new Session()
    try {
      session.connect()
      const profile = kind === 'cpu' ? cpuProfile(session, seconds, signal) : heapProfile(session, seconds, signal)
      return JSON.stringify(await profile)
    } finally {
      // Ends what was started, too.
      session.disconnect()
      this.#busy = false
    }
  }
}

async function cpuProfile(session: Session, seconds: number, signal: AbortSignal): Promise<object> {
  await session.post('Profiler.enable')
  await session.post('Profiler.start')
  await pause(seconds * 1000, undefined, { signal })
  return (await session.post('Profiler.stop')).profile
}

async function heapProfile(session: Session, seconds: number, signal: AbortSignal): Promise<object> {
  await session.post('HeapProfiler.enable')
  await session.post('HeapProfiler.startSampling', { samplingInterval: SAMPLING_INTERVAL_BYTES })
  await pause(seconds * 1000, undefined, { signal })
  return (await session.post('HeapProfiler.stopSampling')).profile
}
