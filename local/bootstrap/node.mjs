import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** The first release that runs TypeScript as it is, without a flag and without a warning. */
const OLDEST = /** @type {const} */ ([24, 12])

/**
 * The Node that runs this project: the one at hand where it is new enough, else the one that came as a package.
 *
 * @returns {string} the path of the executable
 * @throws {Error} with `code` `NODE_TOO_OLD` that says what to do
 */
export function chooseNode() {
  if (isNewEnough(process.versions.node)) return process.execPath
  const name = `node-${process.platform}-${process.arch}`
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`)
    const file = join(dirname(manifest), 'bin', 'node')
    if (existsSync(file)) return file
  } catch {
    // Said below, with what to do.
  }
  throw Object.assign(
    new Error(
      `Node ${OLDEST.join('.')} or newer is needed, this is ${process.versions.node}, and the package ${name} is not installed.\n` +
        `Install Node ${OLDEST[0]} LTS (or newer) and put it first on PATH, or run "npm ci --include=optional" in this folder.`,
    ),
    { code: 'NODE_TOO_OLD' },
  )
}

/** @param {string} version */
function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])
}

/**
 * The environment in which `node`, and every program that it starts, finds that Node first.
 *
 * @param {string} node
 * @param {NodeJS.ProcessEnv} environment
 * @returns {NodeJS.ProcessEnv}
 */
export function withNodeFirst(node, environment) {
  return { ...environment, PATH: `${dirname(node)}:${environment['PATH'] ?? ''}` }
}
