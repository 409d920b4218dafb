import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { parseCallsArgs } from '../../../../local/commands/calls.ts'
import { parseDeadLettersArgs } from '../../../../local/commands/dead-letters.ts'
import { parseRecordsArgs } from '../../../../local/commands/records.ts'
import { UsageError } from '../../../../local/usage.ts'

const ID = '018f3c1e-0000-7000-8000-00000000000a'
/** Runs of each property below. */
const RUNS = 2000

const isUsage = (error: unknown): boolean =>
  error instanceof UsageError || String((error as NodeJS.ErrnoException).code).startsWith('ERR_PARSE_ARGS_')

suite('parseRecordsArgs', () => {
  test('reads a topic, a partition and a range', () => {
    const { options } = parseRecordsArgs(['t', '--partition', '2', '--from', '7', '--json'], {})
    assert.deepEqual(options, { topic: 't', partition: 2, range: { from: 7 }, json: true, values: false })
    assert.deepEqual(parseRecordsArgs(['t'], {}).options.range, { last: 10 })
  })

  const wrong: readonly (readonly [args: readonly string[], message: RegExp])[] = [
    [[], /^which topic\?/],
    [['a', 'b'], /^one topic at a time, not also "b"$/],
    [['t', '--from', '1', '--last', '2'], /^--from and --last exclude each other$/],
    [['t', '--partition', '-1'], /--partition/],
    [['t', '--partition=x'], /^--partition must be a whole number from 0 to 2147483647, not "x"$/],
    [['t', '--last', '0'], /^--last must be a whole number from 1 to 1000000, not "0"$/],
    [['t', '--offset', '1'], /--offset/],
    [['t', '--config', '/nowhere/at/all'], /\/nowhere\/at\/all cannot be read \(ENOENT\)/],
  ]
  for (const [args, message] of wrong) {
    test(`says what is wrong with: ${args.join(' ')}`, () => {
      assert.throws(
        () => parseRecordsArgs(args, {}),
        (error: Error) => isUsage(error) && message.test(error.message),
      )
    })
  }

  test('says which Kafka is missing, or malformed', () => {
    assert.throws(() => parseRecordsArgs(['t'], {}).servers.kafka(), /^UsageError: which Kafka\? Give --kafka/)
    assert.throws(
      () => parseRecordsArgs(['t', '--kafka', 'a:1,b'], {}).servers.kafka(),
      /^UsageError: a broker is HOST:PORT, not "b"$/,
    )
    parseRecordsArgs(['t'], { KAFKA_BROKERS: 'a:1, b:2' }).servers.kafka()
  })

  test(`throws nothing but what the command line is told, whatever it holds (${RUNS} runs)`, () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '--from',
        '--last',
        '--partition',
        '--json',
        '--kafka',
        '--config',
        '--',
        '-',
        '-c',
        '--values=',
        't',
      ),
      fc.integer().map(String),
    )
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (args) => {
        try {
          const { range, topic } = parseRecordsArgs(args, {}).options
          assert.notEqual(topic, '')
          assert.ok(Number.isSafeInteger('from' in range ? range.from : range.last))
        } catch (error) {
          if (!isUsage(error)) throw error
        }
      }),
      { numRuns: RUNS },
    )
  })
})

suite('parseCallsArgs', () => {
  test('reads an id with and without its dashes', () => {
    const bytes = Buffer.from(ID.replaceAll('-', ''), 'hex')
    for (const text of [ID, ID.toUpperCase(), bytes.toString('hex')]) {
      assert.deepEqual(parseCallsArgs(['show', text], {}).options.id, bytes)
    }
  })

  for (const args of [
    [],
    ['show'],
    ['list', ID],
    ['show', ID, 'x'],
    ['show', `${ID}0`],
    ['show', ID.replace('-', '')],
  ]) {
    test(`does not take: ${args.join(' ')}`, () => assert.throws(() => parseCallsArgs(args, {}), UsageError))
  }

  test("never repeats Redis' URL, which may hold a password", async () => {
    const { servers } = parseCallsArgs(['show', ID, '--redis', 'http://:hunter2@h'], {})
    await assert.rejects(
      servers.withRedis(AbortSignal.timeout(1000), async () => undefined),
      (error: Error) => error instanceof UsageError && !error.message.includes('hunter2'),
    )
  })

  test(`throws nothing but what the command line is told, whatever it holds (${RUNS} runs)`, () => {
    const word = fc.oneof(fc.string(), fc.constantFrom('show', ID, '--depth', '--topic', '--json', '5'), fc.uuid())
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (args) => {
        try {
          assert.equal(parseCallsArgs(args, {}).options.id.length, 16)
        } catch (error) {
          if (!isUsage(error)) throw error
        }
      }),
      { numRuns: RUNS },
    )
  })
})

suite('parseDeadLettersArgs', () => {
  const NOW = 1_800_000_000_000
  const optionsOf = (...args: string[]) => parseDeadLettersArgs(args, {}, NOW).options

  test('reads what to do with which', () => {
    assert.deepEqual(optionsOf('redrive', '0/17', '4', '--topic', 't', '--deadline', '30', '--json'), {
      action: 'redrive',
      topic: 't',
      places: [
        { partition: 0, offset: 17 },
        { partition: 0, offset: 4 },
      ],
      filter: {},
      rate: 10,
      deadlineSeconds: 30,
      protoFiles: [],
      descriptorSetFile: undefined,
      json: true,
      values: false,
    })
    const chosen = [
      '--method',
      'Do',
      '--status',
      '14',
      '--call',
      ID,
      '--since',
      '2h',
      '--until',
      '2027-01-15T08:00:00Z',
    ]
    assert.deepEqual(optionsOf('list', '--topic', 't', '--reason', 'used up', ...chosen).filter, {
      method: 'Do',
      status: 'UNAVAILABLE',
      callId: Buffer.from(ID.replaceAll('-', ''), 'hex'),
      reason: 'used up',
      since: NOW - 7_200_000,
      until: NOW,
    })
    assert.equal(optionsOf('redrive', '--topic', 't', '--all', '--rate', '3').rate, 3)
  })

  const wrong: readonly (readonly [args: readonly string[], message: RegExp])[] = [
    [[], /^dead-letters list\|show\|redrive\|discard: what to do\?$/],
    [['replay'], /what to do/],
    [['list'], /^which topic\? Give --topic TOPIC, or --config FILE$/],
    [['show', '--topic', 't'], /^show which\? /],
    [['redrive', '--topic', 't'], /^redrive which\? Give places, as list prints them, a filter, or --all$/],
    [['discard', '--topic', 't'], /^discard which\? /],
    [['redrive', 'x', '--topic', 't'], /^a place is PARTITION\/OFFSET, as list prints it, not "x"$/],
    [['redrive', '1', '--all', '--topic', 't'], /^places exclude a filter, and --all$/],
    [['redrive', '1', '--method', 'Do', '--topic', 't'], /^places exclude a filter, and --all$/],
    [['redrive', '--all', '--method', 'Do', '--topic', 't'], /^--all and a filter exclude each other$/],
    [['list', '--status', 'BROKEN', '--topic', 't'], /^--status is one of OK, CANCELLED, .*, not "BROKEN"$/],
    [['list', '--call', '1', '--topic', 't'], /^a call's id is a UUID/],
    [['list', '--since', 'soon', '--topic', 't'], /^--since is a time or so long ago \(2h, 3d\), not "soon"$/],
    [['redrive', '--all', '--rate', '0', '--topic', 't'], /^--rate must be/],
    [['redrive', '--all', '--deadline', '0', '--topic', 't'], /^--deadline must be/],
  ]
  for (const [args, message] of wrong) {
    test(`says what is wrong with: ${args.join(' ')}`, () => {
      assert.throws(
        () => parseDeadLettersArgs(args, {}, NOW),
        (error: Error) => isUsage(error) && message.test(error.message),
      )
    })
  }
})
