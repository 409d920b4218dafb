/** What Kafka takes and gives is tested on a real one; here is what a reply may be that no Kafka gives. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { alterTopic, metadataOf, readReply, settingsOf } from '../../../../operator/kafka/topic-requests.ts'
import { MalformedMessage, Reader, Writer } from '../../../../operator/kafka/wire.ts'

test('what is written is read again', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record(
          { text: fc.option(fc.string(), { nil: null }), id: fc.uuid(), number: fc.integer() },
          { noNullPrototype: true },
        ),
      ),
      fc.boolean(),
      (items, flag) => {
        const writer = new Writer().tags()
        writer.array(items, ({ text, id, number }) => writer.text(text).uuid(id).int32(number)).boolean(flag)
        const reader = new Reader(writer.tags().bytes())
        reader.tags()
        const read = reader.array(() => ({ text: reader.text(), id: reader.uuid(), number: reader.int32() }))
        assert.deepEqual(read, items)
        assert.equal(reader.boolean(), flag)
        reader.tags()
      },
    ),
  )
})

test('tagged fields that are not known are skipped', () => {
  const reader = new Reader(Buffer.from([2, 0, 1, 0xff, 7, 2, 0xff, 0xff, 42]))
  reader.tags()
  assert.equal(reader.int8(), 42)
})

describe('a reply that is none ends in one error, and soon', () => {
  const requests = [metadataOf(['a']), settingsOf(['a']), alterTopic('a', {}, [])]
  test('whatever its bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...requests), (bytes, request) => {
        try {
          readReply<unknown>(request, Buffer.from(bytes))
        } catch (error) {
          assert.ok(error instanceof MalformedMessage, String(error))
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('also where it says that it is endless', () => {
    const endless = Buffer.from([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f])
    for (const request of requests) assert.throws(() => readReply<unknown>(request, endless), MalformedMessage)
  })
})
