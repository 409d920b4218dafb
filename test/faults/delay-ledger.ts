/** Loaded before a proxy's own modules: writes down in DELAY_LEDGER how much too late its timers fire, as proxy PROXY. */
import { appendFileSync } from 'node:fs'
import type { ProxyDelay } from './history.ts'
import { LoopDelay } from './loop-delay.ts'

const ledger = process.env['DELAY_LEDGER'] ?? ''
const proxy = Number(process.env['PROXY'])
new LoopDelay((milliseconds) => {
  const line: ProxyDelay = { proxy, at: Date.now(), milliseconds }
  appendFileSync(ledger, `${JSON.stringify(line)}\n`)
}).unref()
