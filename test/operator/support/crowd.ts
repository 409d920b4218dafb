/** Many resources of one scene beside each other: each service with a topic of its own, each group an Observer of one service. */
import type { Fields, Scene } from './scene.ts'

/** The route that is as it should be. */
export const GOOD = 'good'

export const topicOf = ({ topic }: Scene, name: string): string => `${topic}-${name}`

/** Without proxies unless the fields say so: most are about something else. */
export const applyOneService = (scene: Scene, name: string, spec: Fields = {}): Promise<void> =>
  scene.applyService(
    {
      proxy: { replicas: 0 },
      ...spec,
      topic: { name: topicOf(scene, name), partitions: 1, ...(spec['topic'] as object | undefined) },
    },
    name,
  )

/** Of the good route unless the fields say so: of Observers there may be many. */
export const applyObserver = (scene: Scene, name: string, spec: Fields = {}): Promise<void> =>
  scene.applyGroup({ calculateServiceRef: { name: GOOD }, role: 'Observer', ...spec }, name)

/** A pod template whose handler has these fields beside its least. */
export const templateWith = (container: Fields): Fields => ({
  spec: { containers: [{ name: 'handler', image: 'a:1', ...container }] },
})

export async function applyGoodRoute(scene: Scene): Promise<void> {
  await scene.applyService({ topic: { name: topicOf(scene, GOOD) } }, GOOD)
  await scene.applyPolicy({}, GOOD)
  await scene.applyGroup({ calculateServiceRef: { name: GOOD }, retryPolicyRef: { name: GOOD } }, GOOD)
}

/** A Secret of one key, `value`. */
export const keepSecret = (scene: Scene, name: string, value: string | Buffer): Promise<unknown> =>
  scene.namespace.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    data: { value: Buffer.from(value).toString('base64') },
  })
