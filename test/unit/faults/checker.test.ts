/** What is planted in a clean history is found, by its name and as the only thing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ERRORS } from '../../../sidecar/errors.ts'
import type { ErrorCode } from '../../../sidecar/errors.ts'
import { answerKind } from '../../faults/answer-kind.ts'
import { check, repeats } from '../../faults/checker.ts'
import type { Answered, Fault, HeldRecord, History, Run, Sent, Stored } from '../../faults/history.ts'

const RULES = {
  maxAttempts: 3,
  retryableCodes: [14],
  mildFaults: ['slow-handler'],
  lateMilliseconds: 250,
  clockMilliseconds: 5,
}

const sent = (call: string, at: number, more: Partial<Sent> = {}): Sent => ({
  request: call,
  call,
  at,
  deadlineMilliseconds: 10_000,
  endedBy: 'Client',
  proxy: 0,
  keyed: false,
  ...more,
})
const ok = (request: string, at: number, reply: string, more: Partial<Answered> = {}): Answered => ({
  request,
  at,
  milliseconds: 100,
  loopDelayMilliseconds: 0,
  code: 0,
  details: '',
  reply,
  ...more,
})
const failed = (request: string, at: number, code: number, details: string): Answered => ({
  request,
  at,
  milliseconds: 100,
  loopDelayMilliseconds: 0,
  code,
  details,
})
const ours = (request: string, at: number, code: ErrorCode, status = 4): Answered =>
  failed(request, at, status, ERRORS[code].message)
const run = (call: string, beganAt: number, reply?: string, more: Partial<Run> = {}): Run => ({
  call,
  callId: `id of ${call}`,
  attempt: 1,
  beganAt,
  ...(reply === undefined ? {} : { end: { at: beganAt + 50, code: 0, reply } }),
  ...more,
})
const record = (call: string, offset: number, at: number, more: Partial<HeldRecord> = {}): HeldRecord => ({
  topic: 'calls',
  partition: 0,
  offset,
  at,
  call,
  attempt: 1,
  deadline: at + 10_000,
  ...more,
})
const answeredIn = (call: string, at: number, reply: string): Stored => ({
  call,
  state: 'Answered',
  at,
  code: 0,
  details: '',
  reply,
})
const commit = (offset: number, at: number) => ({ topic: 'calls', partition: 0, offset, at })
const kill: Fault = { kind: 'kill', what: 'worker 1', at: 2050, until: 2060 }

/**
 * A clean one: a call answered at once, one that a fault made run again, one that failed and was tried again on a retry topic, one
 * with a key and two callers, one that was refused, one that expired unstarted, one that was given up.
 */
const CLEAN: History = {
  sent: [
    sent('a', 1000),
    sent('b', 2000),
    sent('c', 3000),
    sent('k1', 4000, { call: 'k', keyed: true }),
    sent('k2', 4500, { call: 'k', keyed: true }),
    sent('refused', 5000),
    sent('expired', 6000),
    sent('dead', 7000),
  ],
  answered: [
    ok('a', 1100, 'a/1'),
    ok('b', 9000, 'b/2'),
    ok('c', 3900, 'c/2'),
    ok('k1', 4200, 'k/1'),
    ok('k2', 4600, 'k/1'),
    ours('refused', 5001, 'DRAINING', 14),
    ours('expired', 7000, 'EXPIRED_NOT_STARTED'),
    failed('dead', 7800, 14, 'handler: busy'),
  ],
  delays: [],
  runs: [
    run('a', 1020, 'a/1'),
    run('b', 2020),
    run('b', 8900, 'b/2', { attempt: 2 }),
    run('c', 3020, undefined, { end: { at: 3030, code: 14, reply: '' } }),
    run('c', 3800, 'c/2', { attempt: 2 }),
    run('k', 4020, 'k/1'),
    ...[7100, 7300, 7500].map((at) => run('dead', at, undefined, { end: { at, code: 14, reply: '' } })),
  ],
  records: [
    record('a', 0, 1010),
    record('b', 1, 2010),
    record('c', 2, 3010),
    record('c', 0, 3040, { topic: 'calls.retry.1', attempt: 2 }),
    record('k', 3, 4010),
    record('expired', 4, 6010),
    record('dead', 5, 7010),
  ],
  buried: new Set(['dead']),
  stored: [
    answeredIn('a', 1080, 'a/1'),
    answeredIn('b', 8960, 'b/2'),
    answeredIn('c', 3870, 'c/2'),
    answeredIn('k', 4090, 'k/1'),
    { call: 'expired', state: 'Expired', at: 6990, started: 'No' },
    { call: 'dead', state: 'DeadLettered', at: 7700, code: 14, details: 'handler: busy', reply: undefined },
  ],
  commits: [
    commit(1, 1500),
    commit(1, 4500),
    commit(4, 8962),
    { topic: 'calls.retry.1', partition: 0, offset: 1, at: 3900 },
    commit(6, 9100),
  ],
  faults: [kill],
  exempt: new Set(),
}

const found = (change: Partial<History>) => check({ ...CLEAN, ...change }, RULES).map(({ kind }) => kind)
const without = <T extends { readonly call: string }>(all: readonly T[], call: string): readonly T[] =>
  all.filter((one) => one.call !== call)

test('a clean history passes', () => {
  assert.deepEqual(check(CLEAN, RULES), [])
})

test('repeats are counted', () => {
  assert.deepEqual(
    [...repeats(CLEAN)],
    [
      ['b', 2],
      ['c', 2],
      ['dead', 3],
    ],
  )
})

for (const state of [undefined, 'Claimed', 'Enqueued'] as const) {
  test(`a call on Kafka with ${state ?? 'nothing'} in Redis is lost`, () => {
    const rest = without(CLEAN.stored, 'expired')
    const stored: readonly Stored[] = state === undefined ? rest : [...rest, { call: 'expired', state }]
    // Its offset was committed, so that is wrong, too.
    assert.deepEqual(found({ stored }), ['Lost', 'OffsetSkipped'])
  })
}

test('a call that Kafka acknowledged is lost when Kafka does not hold it', () => {
  assert.deepEqual(
    found({
      sent: [...CLEAN.sent, sent('gone', 5000)],
      answered: [...CLEAN.answered, ours('gone', 9000, 'DEADLINE_PASSED')],
      stored: [...CLEAN.stored, { call: 'gone', state: 'Enqueued' }],
    }),
    ['Lost'],
  )
})

test('an outcome of a call that Kafka does not hold is found', () => {
  assert.deepEqual(found({ records: without(CLEAN.records, 'a') }), ['NotOnKafka'])
})

test('two callers of a call with different outcomes are found', () => {
  const answered = CLEAN.answered.map((one) => (one.request === 'k2' ? ok('k2', 4600, 'k/2') : one))
  const again = run('k', 4500, 'k/2')
  assert.deepEqual(found({ answered, runs: [...CLEAN.runs, again], faults: [{ ...kill, until: 5000 }] }), ['Different'])
})

test('an outcome in Redis that is not the one that was told is found', () => {
  const stored = [...without(CLEAN.stored, 'b'), answeredIn('b', 8960, 'b/1')]
  assert.deepEqual(found({ stored }), ['Different'])
})

test('a key that was told Expired(No) and ran when it was claimed again is one call', () => {
  const sentTo = [...CLEAN.sent, sent('k0', 3500, { call: 'k', keyed: true })]
  assert.deepEqual(found({ sent: sentTo, answered: [...CLEAN.answered, ours('k0', 3900, 'EXPIRED_NOT_STARTED')] }), [])
})

test('an answer that no run gave is found', () => {
  const answered = CLEAN.answered.map((one) => (one.request === 'a' ? ok('a', 1100, 'b/2') : one))
  const stored = [...without(CLEAN.stored, 'a'), answeredIn('a', 1080, 'b/2')]
  assert.deepEqual(found({ answered, stored }), ['Invented'])
})

for (const call of ['refused', 'expired']) {
  test(`a call that was ${call} and ran is found`, () => {
    assert.deepEqual(found({ runs: [...CLEAN.runs, run(call, 6500, 'late')] }), ['RanAfterAll'])
  })
}

test('a repeat that no fault explains is found', () => {
  assert.deepEqual(found({ runs: [...CLEAN.runs, run('a', 1060, 'a/2')] }), ['Repeated'])
  assert.deepEqual(found({ faults: [] }), ['Repeated'], 'without the kill')
  assert.deepEqual(
    found({ faults: [{ ...kill, kind: 'slow-handler' }] }),
    ['Repeated'],
    'a fault that takes no work away',
  )
  assert.deepEqual(found({ faults: [{ ...kill, at: 1990, until: 1999 }] }), ['Repeated'], 'made after the kill')
  assert.deepEqual(found({ faults: [{ ...kill, at: 8970, until: 8980 }] }), ['Repeated'], 'finished before the kill')
})

test('one fault explains one repeat of a call, and not two', () => {
  assert.deepEqual(found({ runs: [...CLEAN.runs, run('b', 8950, 'b/3')] }), ['Repeated'])
})

test('a policy explains a repeat after a status that it names, and after no other', () => {
  const runs = CLEAN.runs.map((one) =>
    one.call === 'c' && one.attempt === 1 ? { ...one, end: { at: 3030, code: 13, reply: '' } } : one,
  )
  assert.deepEqual(found({ runs }), ['Repeated'])
})

test('more starts than allowed are found, whatever explains them', () => {
  const more = [7600, 7650].map((at) => run('dead', at, undefined, { end: { at, code: 14, reply: '' } }))
  assert.deepEqual(found({ runs: [...CLEAN.runs, ...more] }), ['TooManyStarts'])
})

test('a call that was given up and is not on the failure topic is found', () => {
  assert.deepEqual(found({ buried: new Set() }), ['NotBuried'])
})

test('a commit that passes a call before its outcome stands is found', () => {
  const commits = CLEAN.commits.map((one) => (one.offset === 4 ? { ...one, at: 8950 } : one))
  assert.deepEqual(found({ commits }), ['OffsetSkipped'])
})

test('a commit that passes a failed attempt before Kafka has the next one is found', () => {
  assert.deepEqual(found({ commits: [commit(3, 3030)] }), ['OffsetSkipped', 'OffsetSkipped'], 'b and c')
  assert.deepEqual(found({ commits: [commit(3, 3045)] }), ['OffsetSkipped'], 'b alone')
})

test('an offset that goes back is found', () => {
  assert.deepEqual(found({ commits: [...CLEAN.commits, commit(3, 9200)] }), ['OffsetWentBack'])
})

test('a status after the deadline and the allowance is late, but for what the client itself was late', () => {
  const at = (milliseconds: number, loopDelayMilliseconds: number) => ({
    answered: CLEAN.answered.map((one) =>
      one.request === 'a' ? { ...one, milliseconds, loopDelayMilliseconds } : one,
    ),
  })
  assert.deepEqual(found(at(10_250, 0)), [])
  assert.deepEqual(found(at(10_251, 0)), ['Late'])
  assert.deepEqual(found(at(10_300, 60)), [])
})

test("a status that is the proxy's to give is late but for what that proxy was late meanwhile", () => {
  const at = (endedBy: Sent['endedBy'], proxy: number, delayedAt: number) => ({
    sent: CLEAN.sent.map((one) => (one.request === 'a' ? { ...one, endedBy, deadlineMilliseconds: 60 } : one)),
    answered: CLEAN.answered.map((one) => (one.request === 'a' ? { ...one, at: 1400, milliseconds: 400 } : one)),
    delays: [{ proxy, at: delayedAt, milliseconds: 100 }],
  })
  assert.deepEqual(found(at('Proxy', 0, 1050)), [])
  assert.deepEqual(found(at('Client', 0, 1050)), ['Late'])
  assert.deepEqual(found(at('Proxy', 1, 1050)), ['Late'], 'another proxy')
  assert.deepEqual(found(at('Proxy', 0, 990)), ['Late'], 'before the request')
  assert.deepEqual(found(at('Proxy', 0, 1600)), ['Late'], 'after the answer')
})

test('a request without a status is found', () => {
  const answered = CLEAN.answered.filter(({ request }) => request !== 'a')
  assert.deepEqual(found({ answered }), ['Unanswered'])
})

test('of a call whose topic was deleted only its answers are judged', () => {
  const change: Partial<History> = {
    records: without(CLEAN.records, 'a'),
    stored: [...without(CLEAN.stored, 'expired')],
    exempt: new Set(['a', 'expired']),
  }
  assert.deepEqual(found(change), [])
  assert.deepEqual(found({ ...change, answered: CLEAN.answered.slice(1) }), ['Unanswered'])
  const told = CLEAN.answered.map((one) => (one.request === 'a' ? ok('a', 1100, 'x') : one))
  assert.deepEqual(found({ ...change, answered: told }), ['Different', 'Invented'])
})

test('what a client may conclude from its status', () => {
  const kinds = [
    ok('a', 1, 'x'),
    failed('a', 1, 3, 'handler: no'),
    ours('a', 1, 'EXPIRED'),
    ours('a', 1, 'DRAINING', 14),
    failed('a', 1, 8, 'the queue is too long: 12 s'),
    ours('a', 1, 'DEADLINE_PASSED'),
    ours('a', 1, 'KAFKA_UNAVAILABLE', 14),
    failed('a', 1, 14, 'Connection dropped'),
    failed('a', 1, 4, 'Deadline exceeded after 1.000s'),
  ].map(answerKind)
  const [outcome, refused, unknown] = ['Outcome', 'Refused', 'Unknown']
  assert.deepEqual(kinds, [outcome, outcome, outcome, refused, refused, unknown, unknown, unknown, unknown])
})
