import { readFile } from 'node:fs/promises'
import { relative } from 'node:path'
import { generateTypes, TYPES_FILE } from '../../crds/generate.ts'
import { readDefinitions } from '../../crds/schema.ts'
import type { Check } from './check.ts'

/** Whether what is generated is what its sources say now. */
export const generatedFiles: Check = {
  name: 'generated',
  async run(root) {
    const wanted = await generateTypes(readDefinitions())
    const found = await readFile(TYPES_FILE, 'utf8').catch(() => undefined)
    if (found === wanted) return []
    return [`${relative(root, TYPES_FILE)} is not what crds/*.yaml say: run npm run generate`]
  },
}
