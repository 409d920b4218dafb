import { inScratchDirectory } from '../../local/scratch-directory.ts'

type Bench = (directory: string, signal: AbortSignal) => Promise<void>

/** Runs a benchmark as a program: in a directory of its own, until it ends or is asked to. */
export const runBench = (name: string, bench: Bench): Promise<void> =>
  inScratchDirectory(name, (directory, signal) =>
    bench(directory, signal).catch((error: unknown) => {
      // What was stopped for it is not why it ends.
      throw signal.aborted ? signal.reason : error
    }),
  )
