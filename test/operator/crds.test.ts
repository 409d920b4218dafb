/** The definitions on a real API server, and whether `crds/validate.ts` says of a resource what the API server says. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { formatPath } from '../../crds/path.ts'
import { readDefinitions } from '../../crds/schema.ts'
import { validateResource } from '../../crds/validate.ts'
import { readDefinitionFiles } from '../../local/platform/definitions.ts'
import { KubeRefusedError } from '../../local/platform/kube-api.ts'
import { CASES, LEAST, resource } from '../unit/crds/cases.ts'
import { sharedCluster } from './support/cluster.ts'
import { pathOf, type Kind } from './support/kinds.ts'
import { Namespace, type Stored } from './support/namespace.ts'
import { violationsOf, withViolation } from './support/violations.ts'

type Verdict =
  | { readonly taken: true; readonly stored: Stored }
  /** Fields the API server names; where it names none it stopped at the first look at the document. */
  | { readonly taken: false; readonly message: string; readonly fields: readonly string[] }

/** What the API server says of a resource, or of a change to one that is there, without keeping it. */
async function ask(namespace: Namespace, object: Readonly<Record<string, unknown>>, there?: Stored): Promise<Verdict> {
  const kind = object['kind'] as Kind
  const query = 'dryRun=All&fieldValidation=Strict'
  const { api } = namespace.cluster
  try {
    const answer =
      there === undefined
        ? await api.request<Stored>('POST', `${pathOf(kind, namespace.name)}?${query}`, { body: object })
        : await api.request<Stored>('PUT', `${pathOf(kind, namespace.name, there.metadata.name)}?${query}`, {
            body: withVersion(object, there),
          })
    assert.deepEqual(answer.warnings, [])
    return { taken: true, stored: answer.body }
  } catch (error) {
    // 400: not readable as such a resource; 422: read, and invalid.
    if (!(error instanceof KubeRefusedError) || ![400, 422].includes(error.status)) throw error
    return { taken: false, message: error.message, fields: fieldsOf(error) }
  }
}

const withVersion = (object: Readonly<Record<string, unknown>>, { metadata }: Stored): object => ({
  ...object,
  metadata: { ...(object['metadata'] as object), resourceVersion: metadata.resourceVersion },
})

function fieldsOf(error: KubeRefusedError): readonly string[] {
  if (error.status === 422) {
    // `<nil>` says only that the rules were not asked, because the schema refused already.
    return error.causes.flatMap(({ field }) => (field === undefined || field === '<nil>' ? [] : [field]))
  }
  return [...error.message.matchAll(/unknown field "([^"]+)"/g)].map(([, field = '']) => field)
}

const problemsOf = (object: unknown, old?: unknown): readonly string[] => {
  const checked = validateResource(object, { old })
  return checked.ok ? [] : checked.problems
}

/** `spec.topic.config["a.b"]` and `spec.topic.config.a.b` are one place. */
const plain = (field: string): string => field.replace(/\["?([^"\]]*)"?\]/g, '.$1')

/** Whether a problem of ours (`spec.methods[0].name: is required`) is about this place or the one that holds it. */
function isAbout(problem: string, field: string): boolean {
  const ours = plain(problem.slice(0, problem.indexOf(': ')))
  const theirs = plain(field)
  return ours === theirs || ours.startsWith(`${theirs}.`)
}

/**
 * Both take it, or both refuse it. What the API server names we name; it may name less: it looks at what is not
 * declared, at the schema and at the rules one after the other and stops where something is wrong.
 */
async function assertSame(
  namespace: Namespace,
  object: Readonly<Record<string, unknown>>,
  there?: Stored,
): Promise<Verdict> {
  const ours = problemsOf(object, there)
  const theirs = await ask(namespace, object, there)
  if (theirs.taken) {
    assert.deepEqual(ours, [], 'the API server takes it')
    return theirs
  }
  assert.notDeepEqual(ours, [], `we take it, the API server does not: ${theirs.message}`)
  const unnamed = theirs.fields.filter((field) => !ours.some((problem) => isAbout(problem, field)))
  assert.deepEqual(unnamed, [], `${theirs.message}\nours:\n${ours.join('\n')}`)
  if (theirs.fields.length === 0) assert.match(theirs.message, /cannot be handled as|is invalid|unable to/)
  return theirs
}

describe('the definitions', () => {
  for (const definition of readDefinitionFiles()) {
    const { name } = definition.metadata
    test(`${name} is taken without a warning`, async () => {
      const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`
      const { warnings } = await sharedCluster().api.request(
        'PATCH',
        `${path}?fieldManager=definitions&force=true&dryRun=All&fieldValidation=Strict`,
        { body: definition, contentType: 'application/apply-patch+yaml' },
      )
      assert.deepEqual(warnings, [])
    })

    test(`${name} has what the API server asks of a schema`, async () => {
      type Condition = { readonly type: string; readonly status: string; readonly message: string }
      const { body } = await sharedCluster().api.request<{
        readonly status: { readonly conditions: readonly Condition[] }
      }>('GET', `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`)
      const states = new Map(body.status.conditions.map(({ type, status, message }) => [type, `${status} ${message}`]))
      assert.equal(states.get('NonStructuralSchema'), undefined)
      assert.match(states.get('Established') ?? '', /^True/)
      assert.match(states.get('NamesAccepted') ?? '', /^True/)
    })
  }

  test('all kinds are listed by their category, with columns', async (t) => {
    const namespace = await Namespace.start(t)
    for (const { kind } of readDefinitions()) await namespace.apply(LEAST[kind as keyof typeof LEAST] as object)
    const text = await namespace.kubectl('get', 'grpckafka')
    assert.match(text, /^calculateservice\.grpckafka\.dev\/calculator +calculator\.CalculateService +calculator /m)
    assert.match(text, /^consumergroup\.grpckafka\.dev\/calculator /m)
    assert.match(text, /^retrypolicy\.grpckafka\.dev\/quick /m)
  })
})

describe('defaults', () => {
  for (const { kind } of readDefinitions()) {
    test(`the least ${kind} gets what crds/defaults.ts fills in`, async (t) => {
      const namespace = await Namespace.start(t)
      const object = resource(kind as keyof typeof LEAST)
      const verdict = await ask(namespace, object)
      const ours = validateResource(object)
      assert.ok(verdict.taken && ours.ok)
      assert.deepEqual(verdict.stored.spec, ours.resource.spec)
    })
  }
})

test('cases of test/unit/crds', async (t) => {
  // Nothing is kept in it but what a change starts from.
  const namespace = await Namespace.start(t)
  for (const { name, kind, put: changes, from } of CASES) {
    await t.test(name, async () => {
      const object = resource(kind, changes)
      if (from === undefined) {
        await assertSame(namespace, object)
        return
      }
      const there = await namespace.apply(resource(kind, from))
      try {
        await assertSame(namespace, object, there)
      } finally {
        await namespace.delete(kind, there.metadata.name)
      }
    })
  }
})

describe('every field of every kind with every value it must not have', () => {
  for (const { kind, schema } of readDefinitions()) {
    const violations = [...violationsOf(schema.properties!['spec']!, ['spec'])]
    test(`${kind}: ${violations.length} resources are refused by both, with the field that is wrong`, async (t) => {
      const namespace = await Namespace.start(t)
      const disagreements: string[] = []
      for (const violation of violations) {
        const object = withViolation(LEAST[kind as keyof typeof LEAST] as object, violation)
        const place = formatPath(violation.path)
        const ours = problemsOf(object)
        const theirs = await ask(namespace, object)
        const names = (problem: string): boolean => plain(problem.split(': ')[0]!) === plain(place)
        if (theirs.taken)
          disagreements.push(`${place} ${violation.what}: the API server takes it; we: ${ours.join('; ')}`)
        else if (!theirs.fields.some(names))
          disagreements.push(`${place} ${violation.what}: the API server: ${theirs.message}`)
        if (!ours.some(names)) disagreements.push(`${place} ${violation.what}: we: ${ours.join('; ') || 'nothing'}`)
      }
      assert.deepEqual(disagreements, [])
    })
  }

  test('that is a table of at least 300', () => {
    const all = readDefinitions().flatMap(({ schema }) => [...violationsOf(schema.properties!['spec']!, ['spec'])])
    assert.ok(all.length >= 300, `${all.length}`)
  })
})
