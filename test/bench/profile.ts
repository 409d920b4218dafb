/**
 * `node test/bench/profile.ts FILE.cpuprofile`: where a profiled process spent its time, by part and by function. Self
 * time only, of the second half, in percent of the time in which it did anything at all.
 */
import { readFileSync } from 'node:fs'

interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  /** Microseconds before each sample. */
  readonly timeDeltas: readonly number[]
}

const FUNCTIONS = 45
const [file] = process.argv.slice(2)
if (file === undefined) {
  console.error('usage: node test/bench/profile.ts FILE.cpuprofile')
  process.exit(2)
}
const profile = JSON.parse(readFileSync(file, 'utf8')) as Profile
const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
const byFunction = new Map<string, number>()
const byPart = new Map<string, number>()
let busy = 0
// The first half is start and warm-up.
const warm = profile.samples.length / 2
profile.samples.forEach((id, index) => {
  if (index < warm) return
  const frame = nodes.get(id)
  const spent = profile.timeDeltas[index] ?? 0
  if (frame === undefined || frame.functionName === '(idle)') return
  busy += spent
  const place = placeOf(frame.url)
  add(byPart, partOf(frame.functionName, place), spent)
  add(byFunction, `${frame.functionName || '(anonymous)'} ${place}:${frame.lineNumber + 1}`, spent)
})
print('by part', byPart, Infinity)
print('by function', byFunction, FUNCTIONS)

function add(sums: Map<string, number>, key: string, spent: number): void {
  sums.set(key, (sums.get(key) ?? 0) + spent)
}

function placeOf(url: string): string {
  const inModules = url.lastIndexOf('/node_modules/')
  if (inModules >= 0) return url.slice(inModules + '/node_modules/'.length)
  const inSidecar = url.lastIndexOf('/sidecar/')
  return inSidecar >= 0 ? url.slice(inSidecar + 1) : url
}

/** A package, a folder of the sidecar, a module of Node, or what the engine does by itself. */
function partOf(name: string, place: string): string {
  if (place === '') return name.startsWith('(') ? name : '(native)'
  if (place.startsWith('node:')) return place.split('/').slice(0, 3).join('/')
  const parts = place.split('/')
  return place.startsWith('@') || place.startsWith('sidecar/') ? parts.slice(0, 2).join('/') : (parts[0] ?? place)
}

function print(title: string, sums: ReadonlyMap<string, number>, limit: number): void {
  console.log(`\n${title}`)
  const sorted = [...sums].sort(([, a], [, b]) => b - a).slice(0, limit)
  for (const [key, spent] of sorted) {
    const percent = (100 * spent) / busy
    if (percent >= 0.3) console.log(`${percent.toFixed(1).padStart(6)} %  ${key}`)
  }
}
