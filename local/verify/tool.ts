import { execFile } from 'node:child_process'
import { join } from 'node:path'
import type { Check } from './check.ts'

/** A check that is a program of node_modules: what it prints when it exits with anything but 0 is what is wrong. */
export const toolCheck = (name: string, program: string, args: readonly string[]): Check => ({
  name,
  run: (root) =>
    new Promise((resolve, reject) => {
      const command = join(root, 'node_modules', '.bin', program)
      const options = { cwd: root, maxBuffer: 64 * 1024 * 1024, env: { ...process.env, NO_COLOR: '1' } }
      execFile(command, args, options, (error, stdout, stderr) => {
        if (error === null) resolve([])
        else if (typeof error.code === 'string') reject(new Error(`${program} did not start`, { cause: error }))
        else resolve(`${stdout}${stderr}`.trimEnd().split('\n'))
      })
    }),
})
