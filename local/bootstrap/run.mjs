import { spawn } from 'node:child_process'
import { findOnPath } from './which.mjs'

const FORWARDED = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])

/**
 * Runs a program on this terminal, passes signals on to it and answers what it ended with. Where `setpriv` exists
 * (Linux) the program is told to end when this process is killed without a chance to say so.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ readonly cwd?: string, readonly env?: NodeJS.ProcessEnv }} [options]
 * @returns {Promise<{ readonly code: number | null, readonly signal: NodeJS.Signals | null }>}
 */
export function run(command, args, options = {}) {
  const setpriv = findOnPath('setpriv')
  const [file, fileArgs] = setpriv ? [setpriv, ['--pdeathsig', 'TERM', '--', command, ...args]] : [command, args]
  return new Promise((resolve, reject) => {
    const child = spawn(file, fileArgs, { stdio: 'inherit', ...options })
    const forward = (/** @type {NodeJS.Signals} */ signal) => child.kill(signal)
    const stopForwarding = () => FORWARDED.forEach((signal) => process.off(signal, forward))
    FORWARDED.forEach((signal) => process.on(signal, forward))
    child.on('error', (error) => {
      stopForwarding()
      reject(error)
    })
    child.on('exit', (code, signal) => {
      stopForwarding()
      resolve({ code, signal })
    })
  })
}

/**
 * Ends this process the way a child ended.
 * @param {{ readonly code: number | null, readonly signal: NodeJS.Signals | null }} end
 */
export function endLike({ code, signal }) {
  if (signal) process.kill(process.pid, signal)
  else process.exitCode = code ?? 1
}
