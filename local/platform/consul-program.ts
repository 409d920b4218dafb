/** Consul itself: found on PATH, or built from Go modules. */
import { join } from 'node:path'
import { findOnPath } from '../bootstrap/which.mjs'
import type { Report } from '../report.ts'
import { ensureGoProgram, type GoProgram } from './go.ts'

/** The last one under the Mozilla Public License of which all modules can be had. */
const VERSION = '1.14.11'

const PROGRAM: GoProgram = {
  title: `Consul ${VERSION}`,
  name: `consul-${VERSION}`,
  module: 'consul',
  package: 'github.com/hashicorp/consul',
  file: 'consul',
  remedies: ['put consul on PATH', 'use a Consul that runs already: CONSUL_HTTP_ADDR=host:port'],
}

/**
 * @returns the program's path
 * @throws PartMissingError
 */
export async function ensureConsul(report: Report, signal?: AbortSignal): Promise<string> {
  const found = findOnPath('consul')
  if (found !== undefined) return found
  return join(await ensureGoProgram(PROGRAM, report, { signal }), PROGRAM.file)
}
