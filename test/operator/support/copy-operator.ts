/**
 * An operator of one controller, that of operator/controller/README.md: it copies every ConfigMap labelled `copy: yes` into a
 * Secret of the same name. Takes the operator's flags. With COPY_WAITS=SIGUSR2 a reconcile does not write before the
 * process gets that signal, whatever its own signal says: what it then does is the runtime's business.
 */
import { once } from 'node:events'
import { hostname } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import { readConfig } from '../../../operator/config.ts'
import type { OperatorContext } from '../../../operator/context.ts'
import { forItself, forOwner } from '../../../operator/controller/controller.ts'
import type { EventRecorder } from '../../../operator/controller/events.ts'
import type { KubeWriter } from '../../../operator/controller/kube-client.ts'
import type { KubeObject, ObjectKey, Resource } from '../../../operator/controller/object.ts'
import type { ReconcileResult, Reconciler } from '../../../operator/controller/reconciler.ts'
import type { Cache } from '../../../operator/controller/store.ts'
import { runOperator } from '../../../operator/run.ts'

interface WithData extends KubeObject {
  readonly data?: Readonly<Record<string, string>>
}

const CONFIG_MAPS: Resource<WithData> = { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps', namespaced: true }
const SECRETS: Resource<WithData> = { apiVersion: 'v1', kind: 'Secret', plural: 'secrets', namespaced: true }

const go = process.env['COPY_WAITS'] === 'SIGUSR2' ? once(process, 'SIGUSR2') : undefined

function secretOf({ metadata, data = {} }: WithData): WithData {
  const { name, namespace, uid } = metadata
  const owner = { apiVersion: 'v1', kind: 'ConfigMap', name, uid: uid!, controller: true }
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, ...(namespace !== undefined && { namespace }), ownerReferences: [owner] },
    data: Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')])),
  }
}

class CopyReconciler implements Reconciler {
  readonly #configMaps: Cache<WithData>
  readonly #secrets: Cache<WithData>
  readonly #writer: KubeWriter
  readonly #events: EventRecorder

  constructor(
    configMaps: Cache<WithData>,
    secrets: Cache<WithData>,
    { writer, events }: Pick<OperatorContext, 'writer' | 'events'>,
  ) {
    this.#configMaps = configMaps
    this.#secrets = secrets
    this.#writer = writer
    this.#events = events
  }

  async reconcile(key: ObjectKey, signal: AbortSignal): Promise<ReconcileResult> {
    const source = this.#configMaps.get(key)
    if (source?.metadata.labels?.['copy'] !== 'yes') return {}
    const wanted = secretOf(source)
    if (isDeepStrictEqual(this.#secrets.get(key)?.data, wanted.data)) return {}
    await go
    await this.#writer.apply(wanted, signal)
    this.#events.record(source, { type: 'Normal', reason: 'Copied', action: 'Copy', note: `copied into secret ${key}` })
    return {}
  }
}

await runOperator(readConfig(process.argv.slice(2), process.env, hostname()), {
  written: [SECRETS],
  addControllers: (context) => {
    const { manager, config } = context
    const configMaps = manager.informer(CONFIG_MAPS)
    const secrets = manager.informer(SECRETS)
    manager.addController({
      name: 'copy',
      reconciler: new CopyReconciler(configMaps.cache, secrets.cache, context),
      sources: [forItself(configMaps), forOwner(secrets, CONFIG_MAPS)],
      workers: config.concurrency,
    })
  },
})
