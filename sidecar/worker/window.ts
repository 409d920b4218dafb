/** W travels in the commit's metadata: a new owner looks up exactly the window that its predecessor may have used. */
import { WINDOW_RECORDS } from './partition.ts'

const LARGEST_WINDOW = 1_000_000

export const windowMetadata = (window = WINDOW_RECORDS): string => JSON.stringify({ window })

/** Offsets set by somebody else's tool carry no window: ours is assumed. Never throws. */
export function readWindow(metadata: string): number {
  try {
    const { window } = JSON.parse(metadata) as { window?: unknown }
    if (typeof window === 'number' && Number.isInteger(window) && window > 0 && window <= LARGEST_WINDOW) return window
  } catch {
    // Not ours.
  }
  return WINDOW_RECORDS
}
