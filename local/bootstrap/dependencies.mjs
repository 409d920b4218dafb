import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { withLock } from './lock.mjs'
import { run } from './run.mjs'

/**
 * Installs the npm dependencies where they are missing or other than package-lock.json says. Two at once are safe:
 * the second waits and finds the work done.
 *
 * @param {string} root  the folder of package.json
 * @throws {Error} with `code` `NPM_CI_FAILED`
 */
export async function ensureDependencies(root) {
  if (isInstalled(root)) return
  await withLock(
    root,
    async () => {
      if (isInstalled(root)) return
      console.error('setup: npm dependencies: npm ci')
      const started = Date.now()
      const npm = process.env['npm_execpath']
      const args = ['ci', '--include=dev', '--include=optional']
      const end =
        npm === undefined
          ? await run('npm', args, { cwd: root })
          : await run(process.execPath, [npm, ...args], { cwd: root })
      if (end.code !== 0) {
        throw Object.assign(
          new Error(
            `npm ci failed (${end.signal ?? `exit code ${end.code}`}): its messages are above. Is the package registry reachable?`,
          ),
          { code: 'NPM_CI_FAILED' },
        )
      }
      console.error(`setup: npm dependencies: installed in ${((Date.now() - started) / 1000).toFixed(1)} s`)
    },
    { onWait: () => console.error('setup: npm dependencies: another process installs them, waiting for it') },
  )
}

/**
 * npm writes node_modules/.package-lock.json as its last step, so that an interrupted installation is seen as well.
 * @param {string} root
 */
function isInstalled(root) {
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const present = packagesOf(join(root, 'node_modules', '.package-lock.json'))
  if (!wanted || !present) return false
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true
    const installed = present[path]
    // An optional package of another platform is rightly absent.
    return installed ? installed.version === version : optional === true
  })
}

/**
 * @param {string} file
 * @returns {Record<string, { version?: string, optional?: boolean }> | undefined}
 */
function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch {
    return undefined
  }
}
