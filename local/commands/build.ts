/**
 * `npm run build`: what the package and the images run, as JavaScript in dist/. Node strips no types under node_modules,
 * so an installed package cannot run the sources.
 */
import { cp, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { runTool } from '../platform/tool.ts'

const root = resolve(dirname(import.meta.filename), '..', '..')
const dist = join(root, 'dist')

await rm(dist, { recursive: true, force: true })
await runTool(join(root, 'node_modules', '.bin', 'tsc'), ['-p', join(root, 'local', 'tsconfig.build.json')])
// What the compiler does not carry along: the definitions that validation and proxies read, and the plain JavaScript.
for (const [folder, ending] of [
  ['crds', '.yaml'],
  ['sidecar', '.proto'],
  ['local/bootstrap', '.mjs'],
] as const) {
  await cp(join(root, folder), join(dist, folder), {
    recursive: true,
    filter: (file) => !/\.\w+$/.test(file) || (file.endsWith(ending) && !file.endsWith('.d.mts')),
  })
}
