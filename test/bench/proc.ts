/** What Linux tells of a process in /proc (proc(5)). */
import { readFileSync } from 'node:fs'

/** USER_HZ is 100 on every architecture that Node runs on. */
const MILLISECONDS_PER_TICK = 10

/** CPU that all threads of a process used so far, user and system, in milliseconds (in steps of 10). */
export function cpuMilliseconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The name in parentheses may hold anything; the fields behind it are counted from `state`, the third.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * MILLISECONDS_PER_TICK
}

/** Memory of a process now and at its largest, in MiB. */
export function residentMebibytes(pid: number): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1')
  const kibibytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
  return { now: kibibytes('VmRSS') / 1024, peak: kibibytes('VmHWM') / 1024 }
}
