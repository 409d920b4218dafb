/** What the README promises of a cluster, done as it says. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { Scene, servers } from './support/scene.ts'
import { until } from './support/until.ts'

const page = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

/** The first block of that language behind a heading. */
function block(heading: string, language: string): string {
  const [, section = ''] = page.split(`\n## ${heading}\n`)
  const [, text] = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(section) ?? []
  assert.ok(text !== undefined, `the README has no ${language} behind "${heading}"`)
  return text
}

interface Written {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly spec: Readonly<Record<string, object>>
}

/** The README's resource, on the one broker that there is here and with names of its own in it. */
function here(resource: Written, own: string): object {
  const { kind, spec } = resource
  if (kind === 'ConsumerGroup') return { ...resource, spec: { ...spec, groupId: own } }
  if (kind !== 'CalculateService') return resource
  const topic = { ...spec['topic'], name: own, replicationFactor: 1 }
  return { ...resource, spec: { ...spec, topic, kafka: { bootstrapServers: servers } } }
}

/** Without what is another in each run: the widths of columns, ages, the names that are this test's own. */
const rows = (text: string, own: string): readonly string[] =>
  text
    .replaceAll(own, 'calculator')
    .split('\n')
    .map((line) =>
      line
        .trim()
        .replaceAll(/ +/g, ' ')
        .replace(/ \d+[smh]\S*$/, ' AGE'),
    )
    .filter((line) => line !== '')

test("the README's three resources become a route, and kubectl shows of them what the README shows", async (t) => {
  const { namespace, topic: own } = await Scene.start(t)

  for (const document of parseAllDocuments(block('Your own service', 'yaml')))
    await namespace.apply(here(document.toJS() as Written, own))
  const shows = block('On Kubernetes', 'console').split('\n').slice(1).join('\n')
  let shown: readonly string[] = []
  await until('all of it is as the README says', async () => {
    shown = rows(await namespace.kubectl('get', 'grpckafka'), own)
    return shown.join('\n') === rows(shows, own).join('\n')
  }).catch((error: unknown) => {
    assert.deepEqual(shown, rows(shows, own))
    throw error
  })
})
