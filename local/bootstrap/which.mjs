import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * The path of a program, or undefined when no folder of PATH has it.
 * @param {string} name
 * @param {string} [path]
 */
export function findOnPath(name, path = process.env['PATH'] ?? '') {
  for (const directory of path.split(delimiter)) {
    if (directory === '') continue
    const file = join(directory, name)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      // Not in this folder: the next may have it.
    }
  }
  return undefined
}
