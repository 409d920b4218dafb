import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { interruptible } from './interrupt.ts'

/**
 * Runs a program's work with a directory that is gone at its end, and a signal that asks it to end in order. What it throws
 * is printed, and the process ends with 1.
 *
 * @param name  the directory's begins so
 */
export async function inScratchDirectory(
  name: string,
  work: (directory: string, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), `${name}-`))
  try {
    await interruptible((signal) => work(directory, signal))
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
