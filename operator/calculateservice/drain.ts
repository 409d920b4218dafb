import type { CalculateService } from '../../crds/types.ts'
import { drainMilliseconds } from './proxy-config.ts'

/** From the end of the drain to the end of the process. */
const GRACE_BEYOND_DRAIN_SECONDS = 15

/** How long a proxy's pod may take to end: until the last call that it took is over, and a little more. */
export const drainSeconds = (service: CalculateService): number =>
  Math.ceil(drainMilliseconds(service) / 1000) + GRACE_BEYOND_DRAIN_SECONDS
