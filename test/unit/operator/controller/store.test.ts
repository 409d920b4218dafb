import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { KubeObject } from '../../../../operator/controller/object.ts'
import { Store } from '../../../../operator/controller/store.ts'

interface Thing extends KubeObject {
  readonly secrets?: readonly string[]
}

const thing = (name: string, version: number | string, secrets?: readonly string[], namespace = 'ns'): Thing => ({
  apiVersion: 'test/v1',
  kind: 'Thing',
  metadata: { name, namespace, resourceVersion: String(version) },
  ...(secrets !== undefined && { secrets }),
})

function storeWith(...things: readonly Thing[]): Store<Thing> {
  const store = new Store<Thing>()
  store.addIndex('secret', ({ secrets }) => [...secrets!])
  store.replace('', things, '100', store.beginList())
  return store
}

const names = (things: readonly Thing[]) => things.map(({ metadata }) => metadata.name)
const versionOf = (store: Store<Thing>, key: string) => store.get(key)?.metadata.resourceVersion

describe('Store', () => {
  test('finds objects by key and by each value of an index, in the order of their keys', () => {
    const store = storeWith(thing('b', 2, ['x', 'y']), thing('a', 1, ['x']))
    assert.equal(store.get('ns/a')?.metadata.resourceVersion, '1')
    assert.equal(store.get('a'), undefined)
    assert.deepEqual(names(store.byIndex('secret', 'x')), ['a', 'b'])
    assert.deepEqual(names(store.byIndex('secret', 'y')), ['b'])
    assert.deepEqual(names(store.byIndex('secret', 'z')), [])
    assert.deepEqual(names(store.list()), ['a', 'b'])
  })

  test('finds a changed object under its new values only, and a deleted one under none', () => {
    const store = storeWith(thing('a', 1, ['x']))
    store.observe('', 'MODIFIED', thing('a', 101, ['y']))
    assert.deepEqual(names(store.byIndex('secret', 'x')), [])
    assert.deepEqual(names(store.byIndex('secret', 'y')), ['a'])
    store.observe('', 'DELETED', thing('a', 102, ['y']))
    assert.deepEqual(names(store.byIndex('secret', 'y')), [])
    assert.deepEqual(store.list(), [])
  })

  test('keeps an object for which an index function throws, and its neighbours', () => {
    const store = storeWith(thing('odd', 1), thing('a', 2, ['x']))
    assert.deepEqual(names(store.list()), ['a', 'odd'])
    assert.deepEqual(names(store.byIndex('secret', 'x')), ['a'])
  })

  test('refuses an unknown index, one of the same name, and one that comes too late', () => {
    const store = storeWith(thing('a', 1, []))
    assert.throws(() => store.byIndex('other', 'x'), RangeError)
    assert.throws(() => store.addIndex('secret', () => []), RangeError)
    assert.throws(() => store.addIndex('late', () => []), RangeError)
  })

  test('tells of a list what came, changed and went', () => {
    const store = storeWith(thing('stays', 1, []), thing('goes', 2, []))
    const changes = store.replace('', [thing('stays', 3, []), thing('comes', 4, [])], '200', store.beginList())
    assert.deepEqual(
      changes.map(({ type, object }) => `${type} ${object.metadata.name}`),
      ['Updated stays', 'Added comes', 'Deleted goes'],
    )
  })

  test('tells nothing of a list in which nothing changed', () => {
    const store = storeWith(thing('a', 1, []), thing('b', 2, []))
    assert.deepEqual(store.replace('', [thing('a', 1, []), thing('b', 2, [])], '200', store.beginList()), [])
  })

  test("a namespace's list takes away nothing of another namespace", () => {
    const store = new Store<Thing>()
    store.replace('one', [thing('a', 1, [], 'one')], '5', store.beginList())
    store.replace('two', [thing('b', 1, [], 'two')], '5', store.beginList())
    store.replace('one', [], '6', store.beginList())
    assert.deepEqual(names(store.list()), ['b'])
  })
})

describe('Store, of what this process wrote', () => {
  test('gives what was written before the watch told of it', () => {
    const store = storeWith(thing('a', 1, []))
    const change = store.written(thing('a', 101, ['x']))
    assert.equal(change?.type, 'Updated')
    assert.equal(versionOf(store, 'ns/a'), '101')
    assert.deepEqual(names(store.byIndex('secret', 'x')), ['a'])
  })

  test('does not go back to an earlier event of the watch, and goes on with a later one', () => {
    const store = storeWith(thing('a', 1, []))
    store.written(thing('a', 103, []))
    assert.equal(store.observe('', 'MODIFIED', thing('a', 102, [])), undefined)
    assert.equal(versionOf(store, 'ns/a'), '103')
    store.observe('', 'MODIFIED', thing('a', 103, []))
    store.observe('', 'MODIFIED', thing('a', 104, []))
    assert.equal(versionOf(store, 'ns/a'), '104')
  })

  test('tells of a write once: the watch that comes after it tells nothing new', () => {
    const store = storeWith(thing('a', 1, []))
    assert.equal(store.written(thing('a', 103, []))?.type, 'Updated')
    assert.equal(store.observe('', 'MODIFIED', thing('a', 103, [])), undefined)
    assert.equal(store.observe('', 'MODIFIED', thing('a', 104, []))?.type, 'Updated')
  })

  test('compares versions as numbers', () => {
    const store = storeWith(thing('a', 99, []))
    store.written(thing('a', 1000, []))
    assert.equal(store.observe('', 'MODIFIED', thing('a', 999, [])), undefined)
    assert.equal(versionOf(store, 'ns/a'), '1000')
  })

  test('does not bring back what was deleted after it was written', () => {
    const store = storeWith(thing('a', 1, []))
    store.observe('', 'DELETED', thing('a', 105, []))
    assert.equal(store.written(thing('a', 104, [])), undefined)
    assert.equal(store.get('ns/a'), undefined)
  })

  test('takes nothing before the first list', () => {
    const store = new Store<Thing>()
    assert.equal(store.written(thing('a', 104, [])), undefined)
    assert.deepEqual(store.list(), [])
  })

  test('a list that was asked for before the write does not take it away', () => {
    const store = storeWith()
    const begun = store.beginList()
    store.written(thing('new', 150, []))
    assert.deepEqual(store.replace('', [], '140', begun), [])
    assert.deepEqual(names(store.list()), ['new'])
  })

  test('a list that was asked for after the write is believed, even if its versions are lower (a restored backup)', () => {
    const store = storeWith()
    store.written(thing('new', 150, []))
    store.written(thing('kept', 151, []))
    store.replace('', [thing('kept', 40, [])], '50', store.beginList())
    assert.deepEqual(names(store.list()), ['kept'])
    assert.equal(versionOf(store, 'ns/kept'), '40')
    store.observe('', 'MODIFIED', thing('kept', 51, []))
    assert.equal(versionOf(store, 'ns/kept'), '51')
  })
})
