/**
 * Metrics as text: the format of Prometheus (prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4) and that of
 * OpenMetrics 1.0 (github.com/prometheus/OpenMetrics), which alone carries exemplars. prom-client writes both too, but it
 * renames its metrics for the second, so that one process cannot give both.
 */
import type { Exemplar } from './histogram.ts'

export type ExpositionFormat = 'Prometheus' | 'OpenMetrics'

export const CONTENT_TYPES: Readonly<Record<ExpositionFormat, string>> = {
  Prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  OpenMetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

export interface Sample {
  /** Default: the family's name. */
  readonly metricName?: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
  readonly exemplar?: Exemplar
}

export interface MetricFamily {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly values: readonly Sample[]
}

/** What a scraper gets. @param accept the request's Accept header. */
export const formatFor = (accept: string | undefined): ExpositionFormat =>
  accept !== undefined && accepts(accept, 'application/openmetrics-text') ? 'OpenMetrics' : 'Prometheus'

/** Any weight but zero counts as a wish (RFC 9110, section 12.5.1): whoever names the newer format can read it. */
const accepts = (accept: string, type: string): boolean =>
  accept.split(',').some((one) => {
    const [name = '', ...parameters] = one.split(';').map((part) => part.trim().toLowerCase())
    return name === type && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))
  })

export function writeExposition(families: readonly MetricFamily[], format: ExpositionFormat): string {
  const open = format === 'OpenMetrics'
  const lines: string[] = []
  for (const { name, help, type, values } of families) {
    // In OpenMetrics a counter's family is named without the suffix that its samples have.
    const family = open && type === 'counter' ? name.replace(/_total$/, '') : name
    lines.push(`# HELP ${family} ${escapeHelp(help, open)}`, `# TYPE ${family} ${type}`)
    for (const { metricName = name, labels, value, exemplar } of values) {
      const sample = `${metricName}${writeLabels(labels, open)} ${writeNumber(value)}`
      lines.push(open && exemplar !== undefined ? `${sample} ${writeExemplar(exemplar)}` : sample)
    }
  }
  if (open) lines.push('# EOF')
  return `${lines.join('\n')}\n`
}

function writeLabels(labels: Sample['labels'], open: boolean): string {
  const pairs = Object.entries(labels).map(([name, value]) => {
    const text = open && name === 'le' && typeof value === 'number' ? writeBound(value) : String(value)
    return `${name}="${escape(text).replaceAll('"', '\\"')}"`
  })
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

const writeExemplar = ({ traceId, value, at }: Exemplar): string =>
  `# {trace_id="${traceId}"} ${writeNumber(value)} ${(at / 1000).toFixed(3)}`

/** OpenMetrics asks that bounds are floats, so that `le` is the same text whoever writes it. */
const writeBound = (bound: number): string => (Number.isInteger(bound) ? `${bound}.0` : String(bound))

function writeNumber(value: number): string {
  if (value === Infinity) return '+Inf'
  return value === -Infinity ? '-Inf' : String(value)
}

const escape = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')

const escapeHelp = (help: string, open: boolean): string => (open ? escape(help).replaceAll('"', '\\"') : escape(help))
