/** Loaded before a worker's own modules: it reads no newer record than version 1, as the release before version 2 did. */
import { registerHooks } from 'node:module'

const CONSTANT = 'export const VERSION = 2\n'

registerHooks({
  load: (url, context, nextLoad) => {
    const loaded = nextLoad(url, context)
    if (!url.endsWith('/sidecar/kafka/record.ts')) return loaded
    const source = Buffer.from(loaded.source as Uint8Array).toString()
    if (!source.includes(CONSTANT)) throw new Error('sidecar/kafka/record.ts has another VERSION than this test knows')
    return { ...loaded, source: source.replace(CONSTANT, CONSTANT.replace('2', '1')) }
  },
})
