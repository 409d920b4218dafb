import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'

/** Every file that is committed or would be, by its path from the root; what .gitignore names is left out. */
export async function committedFiles(root: string): Promise<readonly string[]> {
  const { stdout } = await promisify(execFile)('git', ['ls-files', '-z', '-co', '--exclude-standard'], {
    cwd: root,
    maxBuffer: 64 * 1024 * 1024,
  })
  return [...new Set(stdout.split('\0'))].filter((file) => file !== '' && existsSync(`${root}/${file}`)).sort()
}
