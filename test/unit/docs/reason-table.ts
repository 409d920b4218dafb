/** The README's table of conditions and reasons. */
import { readFileSync } from 'node:fs'

export interface ReasonRow {
  readonly reason: string
  readonly kind: string
  readonly type: string
  readonly status: string
  readonly meaning: string
}

const page = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')

export function reasonRows(): readonly ReasonRow[] {
  const [, rest = ''] = page.split('\n| reason | kind | condition | status | it means |\n')
  const [table = ''] = rest.split('\n\n')
  return table
    .split('\n')
    .slice(1)
    .map((line) => {
      const [reason = '', kind = '', type = '', status = '', meaning = ''] = line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim())
      return { reason: reason.replaceAll('`', ''), kind, type, status, meaning }
    })
}
