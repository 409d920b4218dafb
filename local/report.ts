/** Takes one line of progress for the person at the terminal. */
export type Report = (line: string) => void

/** Progress goes to standard error, so that standard output holds results only. */
export const reportToTerminal: Report = (line) => {
  process.stderr.write(`${line}\n`)
}
