import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { withLock } from '../bootstrap/lock.mjs'
import type { Report } from '../report.ts'

/** Where downloads are kept: `$XDG_CACHE_HOME/grpc-kafka-operator`, outside the tree. */
const cacheDirectory = (environment: NodeJS.ProcessEnv = process.env): string =>
  join(environment['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'grpc-kafka-operator')

/**
 * The cached folder `name`, made by `fill` when it is not there. It appears whole or not at all: it is filled under
 * another name and renamed; two processes at once do the work once.
 *
 * @param name  names the content with its version: "kafka-4.1.0"
 * @param fill  puts the content into the given empty folder; what it throws is passed on
 * @returns the folder's path
 */
export async function cached(
  name: string,
  fill: (directory: string) => Promise<void>,
  options: { readonly root?: string; readonly report?: Report } = {},
): Promise<string> {
  const root = options.root ?? cacheDirectory()
  const target = join(root, name)
  if (await isDirectory(target)) return target
  return withLock(
    target,
    async () => {
      if (await isDirectory(target)) return target
      await mkdir(root, { recursive: true })
      const partial = await mkdtemp(join(root, `.${name}-`))
      try {
        await fill(partial)
        await rename(partial, target)
      } catch (error) {
        await rm(partial, { recursive: true, force: true })
        throw error
      }
      return target
    },
    { onWait: () => options.report?.(`setup: ${name}: another process prepares it, waiting for it`) },
  )
}

const isDirectory = (path: string): Promise<boolean> =>
  stat(path).then(
    (entry) => entry.isDirectory(),
    () => false,
  )
