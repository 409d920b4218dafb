import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { cached } from '../../../../local/platform/cache.ts'
import { folder } from '../resources/files.ts'

test('it is filled once, whoever asks at the same time', async (context) => {
  const root = await folder(context, {})
  let fills = 0
  const fill = async (directory: string): Promise<void> => {
    fills += 1
    await writeFile(join(directory, 'jar'), 'content')
  }
  const answers = await Promise.all(Array.from({ length: 3 }, () => cached('part-1', fill, { root })))
  assert.deepEqual(
    answers,
    Array.from({ length: 3 }, () => join(root, 'part-1')),
  )
  assert.equal(fills, 1)
  assert.equal(await cached('part-1', fill, { root }), join(root, 'part-1'))
  assert.equal(fills, 1)
  assert.equal(await readFile(join(root, 'part-1', 'jar'), 'utf8'), 'content')
})

test('a filling that fails leaves nothing, and can be tried again', async (context) => {
  const root = await folder(context, {})
  const half = async (directory: string): Promise<void> => {
    await writeFile(join(directory, 'half'), '')
    throw new Error('the network went away')
  }
  await assert.rejects(cached('part-1', half, { root }), /the network went away/)
  assert.deepEqual(await readdir(root), [])
  await cached('part-1', () => Promise.resolve(), { root })
  assert.deepEqual(await readdir(root), ['part-1'])
})
