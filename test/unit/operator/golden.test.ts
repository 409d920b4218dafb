/**
 * Whole resources in, everything that runs for them out: `test/golden/<case>/in.yaml` beside the expected files.
 * `UPDATE_GOLDEN=1` writes the expected files anew; read the difference before committing it.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments, stringify } from 'yaml'
import type { CalculateService, ConsumerGroup, Resource, RetryPolicy } from '../../../crds/types.ts'
import { validateResource } from '../../../crds/validate.ts'
import type { Rendered } from '../../../operator/applied.ts'
import { retryStepsOf } from '../../../operator/calculateservice/retry-steps.ts'
import { renderService } from '../../../operator/calculateservice/objects.ts'
import { proxyConfig } from '../../../operator/calculateservice/proxy-config.ts'
import { renderGroup } from '../../../operator/consumergroup/objects.ts'
import { workerConfig } from '../../../operator/consumergroup/worker-config.ts'
import { desiredTopics } from '../../../operator/kafka/topics.ts'
import { parseConfig } from '../../../sidecar/config.ts'

const GOLDEN = fileURLToPath(new URL('../../golden/', import.meta.url))
const update = process.env['UPDATE_GOLDEN'] === '1'

const placement = {
  admin: { host: '127.0.0.1', port: 19090 },
  logLevel: 'warn',
} as const

function render(folder: string): ReadonlyMap<string, unknown> {
  const resources = parseAllDocuments(readFileSync(`${folder}/in.yaml`, 'utf8')).map((document): Resource => {
    const result = validateResource(document.toJS())
    assert.ok(result.ok, result.ok ? '' : result.problems.join('\n'))
    return result.resource
  })
  const files = new Map<string, unknown>()
  for (const service of resources.filter((one): one is CalculateService => one.kind === 'CalculateService')) {
    const { name } = service.metadata
    const policies = resources.filter((one): one is RetryPolicy => one.kind === 'RetryPolicy')
    const mine = resources.filter(
      (one): one is ConsumerGroup =>
        one.kind === 'ConsumerGroup' && one.spec.role === 'Responder' && one.spec.calculateServiceRef.name === name,
    )
    const named = policies.filter((policy) =>
      mine.some(({ spec }) => spec.retryPolicyRef?.name === policy.metadata.name),
    )
    files.set(`out-${name}-topics.json`, desiredTopics(service, { retrySteps: retryStepsOf(service, named) }))
    files.set(
      `out-${name}-proxy.json`,
      proxyConfig(service, {
        ...placement,
        instance: `${name}-proxy-0`,
        listen: { port: service.spec.proxy.port },
        registration: { host: '10.0.0.1' },
        descriptorSetFile: '/run/descriptors.binpb',
      }),
    )
    const stored = { ...service, metadata: { ...service.metadata, uid: `uid-of-${name}` } }
    const objects: Readonly<Record<string, Rendered>> = { ...renderService(stored, { sidecarImage: 'sidecar:1' }) }
    for (const object of Object.values(objects)) {
      files.set(`out-${name}-proxy-${object.kind.toLowerCase()}.yaml`, object)
    }
    for (const group of resources.filter((one): one is ConsumerGroup => one.kind === 'ConsumerGroup')) {
      if (group.spec.calculateServiceRef.name !== name) continue
      const policy = resources.find(
        (one): one is RetryPolicy =>
          one.kind === 'RetryPolicy' && one.metadata.name === group.spec.retryPolicyRef?.name,
      )
      files.set(
        `out-${group.metadata.name}-worker.json`,
        workerConfig(group, service, policy, {
          ...placement,
          instance: `${group.metadata.name}-worker-0`,
          handler: { port: group.spec.handler.port },
          uncleanEndMarker: '/run/unclean-end',
        }),
      )
      const storedGroup = { ...group, metadata: { ...group.metadata, uid: `uid-of-${group.metadata.name}` } }
      const parts = { group: storedGroup, service, policy, replicas: group.spec.replicas }
      const made: Readonly<Record<string, Rendered>> = { ...renderGroup(parts, { sidecarImage: 'sidecar:1' }) }
      for (const object of Object.values(made)) {
        files.set(`out-${group.metadata.name}-worker-${object.kind.toLowerCase()}.yaml`, object)
      }
    }
  }
  return files
}

/** The configuration of a sidecar in a rendered file, if it holds one. */
function configIn(file: string, content: unknown): unknown {
  if (file.endsWith('-configmap.yaml')) {
    return JSON.parse((content as { data: { 'sidecar.json': string } }).data['sidecar.json'])
  }
  return file.endsWith('.json') && !file.endsWith('-topics.json') ? content : undefined
}

for (const name of readdirSync(GOLDEN)) {
  test(`golden: ${name}`, () => {
    const folder = `${GOLDEN}${name}`
    const files = render(folder)
    const present = readdirSync(folder).filter((file) => file !== 'in.yaml')
    for (const [file, content] of files) {
      const isYaml = file.endsWith('.yaml')
      const text = isYaml ? stringify(content, { lineWidth: 0 }) : `${JSON.stringify(content, null, 2)}\n`
      const read = (source: string): unknown => (isYaml ? parse(source) : JSON.parse(source))
      if (update) writeFileSync(`${folder}/${file}`, text)
      else {
        assert.ok(present.includes(file), `${name}/${file} is missing; UPDATE_GOLDEN=1 writes it`)
        assert.deepEqual(read(text), read(readFileSync(`${folder}/${file}`, 'utf8')), `${name}/${file}`)
      }
      const config = configIn(file, content)
      // What is rendered must be what a sidecar takes.
      if (config !== undefined) {
        parseConfig(config, { POD_NAME: 'pod-1', POD_IP: '10.0.0.1' }, () => 'redis://:secret@127.0.0.1:16379')
      }
    }
    for (const file of present.filter((one) => !files.has(one))) {
      if (update) rmSync(`${folder}/${file}`)
      else assert.fail(`${name}/${file} is expected of nothing`)
    }
  })
}
