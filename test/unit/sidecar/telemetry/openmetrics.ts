/**
 * Reads OpenMetrics 1.0 text (github.com/prometheus/OpenMetrics, "ABNF" and the rules below it) and takes nothing that is not
 * exactly so. What it knows of is what is written here: gauges, counters, histograms and summaries, with exemplars.
 */
import assert from 'node:assert/strict'

export interface ParsedSample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
  readonly exemplar?: { readonly labels: Readonly<Record<string, string>>; readonly value: number; readonly at: number }
}

export interface ParsedFamily {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly samples: readonly ParsedSample[]
}

const NAME = '[a-zA-Z_][a-zA-Z0-9_]*'
const LABEL = `${NAME}="(?:[^"\\\\\\n]|\\\\["\\\\n])*"`
const LABELS = `\\{((?:${LABEL}(?:,${LABEL})*)?)\\}`
const NUMBER = '([+-]?(?:[0-9]+(?:\\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|Inf)|NaN)'
const SAMPLE = new RegExp(`^(${NAME})(?:${LABELS})? ${NUMBER}(?: # ${LABELS} ${NUMBER} ${NUMBER})?$`)
const DESCRIPTOR = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`)

const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  gauge: [''],
  counter: ['_total'],
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['', '_sum', '_count'],
}

/** @throws AssertionError naming the line. */
export function parseOpenMetrics(text: string): readonly ParsedFamily[] {
  assert.ok(text.endsWith('\n# EOF\n') || text === '# EOF\n', 'ends with # EOF and a newline')
  const families = new Map<string, { name: string; type: string; help: string; samples: ParsedSample[] }>()
  let family: { name: string; type: string; help: string; samples: ParsedSample[] } | undefined
  for (const line of text.split('\n').slice(0, -2)) {
    const descriptor = DESCRIPTOR.exec(line)
    if (descriptor !== null) {
      const [, kind, name = '', rest = ''] = descriptor
      if (family?.name !== name) {
        assert.ok(!families.has(name), `a family stands once and together: ${line}`)
        family = { name, type: '', help: '', samples: [] }
        families.set(name, family)
      }
      assert.equal(family.samples.length, 0, `descriptions come first: ${line}`)
      if (kind === 'TYPE') {
        assert.ok(rest in SUFFIXES, `a type that is known here: ${line}`)
        assert.equal(family.type, '', `one type: ${line}`)
        family.type = rest
      } else {
        assert.match(rest, /^(?:[^"\\]|\\["\\n])*$/, `escaped help: ${line}`)
        family.help = rest
      }
      continue
    }
    const found = SAMPLE.exec(line)
    assert.ok(found !== null, `a sample: ${line}`)
    const [, name = '', labels = '', value = '', exemplarLabels, exemplarValue = '', at = ''] = found
    assert.ok(family !== undefined, `of a family: ${line}`)
    const { type } = family
    const suffix = name.slice(family.name.length)
    assert.ok(name.startsWith(family.name) && SUFFIXES[type]?.includes(suffix), `a name of its family: ${line}`)
    assert.equal(exemplarLabels === undefined || suffix === '_bucket', true, `exemplars are of buckets: ${line}`)
    if (exemplarLabels !== undefined) {
      const runes = [...readLabels(exemplarLabels, line)].flat().join('')
      assert.ok(runes.length <= 128, `an exemplar's labels have at most 128 characters: ${line}`)
    }
    family.samples.push({
      name,
      labels: Object.fromEntries(readLabels(labels, line)),
      value: readNumber(value),
      ...(exemplarLabels !== undefined && {
        exemplar: {
          labels: Object.fromEntries(readLabels(exemplarLabels, line)),
          value: readNumber(exemplarValue),
          at: readNumber(at),
        },
      }),
    })
  }
  for (const one of families.values()) checkFamily(one)
  return [...families.values()]
}

const byName = ([a]: readonly [string, string], [b]: readonly [string, string]): number => (a < b ? -1 : 1)

function checkFamily({ name, type, samples }: ParsedFamily): void {
  assert.notEqual(type, '', `${name} has a type`)
  assert.ok(type !== 'counter' || !name.endsWith('_total'), `${name}: the suffix is not part of a counter's name`)
  const seen = new Set<string>()
  const buckets = new Map<string, ParsedSample[]>()
  for (const sample of samples) {
    const { le, ...others } = sample.labels
    const key = JSON.stringify([sample.name, ...Object.entries(sample.labels).toSorted(byName)])
    assert.ok(!seen.has(key), `${key} stands once`)
    seen.add(key)
    if (type === 'counter' || type === 'histogram') assert.ok(sample.value >= 0, `${key} is not negative`)
    if (type !== 'histogram' || !sample.name.endsWith('_bucket')) continue
    assert.match(
      le ?? '',
      /^([+-]?[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?|[0-9]+(\.[0-9]+)?e[+-]?[0-9]+|\+Inf)$/,
      `${key} has a float as le`,
    )
    const group = JSON.stringify(Object.entries(others).toSorted(byName))
    buckets.set(group, [...(buckets.get(group) ?? []), sample])
  }
  for (const [group, all] of buckets) checkBuckets(`${name}${group}`, all, samples, name)
}

function checkBuckets(
  what: string,
  buckets: readonly ParsedSample[],
  samples: readonly ParsedSample[],
  name: string,
): void {
  let bound = -Infinity
  let count = 0
  for (const { labels, value, exemplar } of buckets) {
    const le = readNumber(labels['le'] ?? '')
    assert.ok(le > bound, `${what}: bounds rise`)
    assert.ok(value >= count, `${what}: buckets are cumulative`)
    if (exemplar !== undefined) {
      assert.ok(exemplar.value > bound && exemplar.value <= le, `${what}: an exemplar lies in its bucket`)
    }
    bound = le
    count = value
  }
  assert.equal(bound, Infinity, `${what}: there is a bucket for +Inf`)
  const labels = Object.fromEntries(Object.entries(buckets[0]?.labels ?? {}).filter(([label]) => label !== 'le'))
  const total = samples.find(
    (one) => one.name === `${name}_count` && JSON.stringify(one.labels) === JSON.stringify(labels),
  )
  assert.equal(total?.value, count, `${what}: its count is that of +Inf`)
}

function readLabels(text: string, line: string): readonly [name: string, value: string][] {
  const pairs = [...text.matchAll(new RegExp(`(${NAME})="((?:[^"\\\\]|\\\\.)*)"`, 'g'))].map(
    ([, name = '', value = '']): [string, string] => [
      name,
      value.replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one)),
    ],
  )
  assert.equal(new Set(pairs.map(([name]) => name)).size, pairs.length, `a label stands once: ${line}`)
  return pairs
}

function readNumber(text: string): number {
  if (text === '+Inf' || text === 'Inf') return Infinity
  return text === '-Inf' ? -Infinity : Number(text)
}
