import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { formatCallId } from '../../../../sidecar/call-id.ts'
import { Metrics } from '../../../../sidecar/telemetry/metrics.ts'
import { Cancellations } from '../../../../sidecar/worker/cancellations.ts'

const [ONE, OTHER] = [Buffer.alloc(16, 1), Buffer.alloc(16, 2)]

test('cancelled calls are known as long as Redis has them, and told of once', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  let answer: () => Promise<unknown[]> = () => Promise.resolve([])
  const asked: unknown[] = []
  const told: string[] = []
  const cancellations = new Cancellations({
    redis: {
      ready: true,
      script: ({ name }, keys) => {
        asked.push([name, keys])
        return answer()
      },
    },
    topic: 'work',
    onCancelled: (id) => told.push(formatCallId(id)),
    metrics: new Metrics(),
  })
  t.after(() => cancellations.close())
  const known = () => [ONE, OTHER].map((id) => cancellations.has(id))
  const look = async (given: () => Promise<unknown[]>) => {
    answer = given
    t.mock.timers.tick(500)
    await turn()
    return known()
  }
  cancellations.start()
  cancellations.start()
  await turn()
  assert.deepEqual([asked, known()], [[['cancelled', ['gk:cancelled:{work}']]], [false, false]])
  const hex = [ONE, OTHER].map((id) => id.toString('hex'))
  assert.deepEqual(await look(() => Promise.resolve([hex[0], 'no id'])), [true, false])
  assert.deepEqual(await look(() => Promise.resolve(hex)), [true, true])
  assert.deepEqual(await look(() => Promise.reject(new Error('away'))), [true, true], 'what is known stays')
  assert.deepEqual(await look(() => Promise.resolve([])), [false, false])
  assert.deepEqual(told, [ONE, OTHER].map(formatCallId))
})
