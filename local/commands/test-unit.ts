/** `npm run test:unit [-- ARGS]`: the unit tests with coverage. ARGS are for `node --test`; a path takes the place of all. */
import { endWith, splitArguments, runNode } from './node-test.ts'

const { flags, files } = splitArguments(process.argv.slice(2))
endWith(
  await runNode(
    [
      '--test',
      '--experimental-test-coverage',
      '--test-timeout=60000',
      '--import=./test/unit/property-seed.ts',
      ...['crds', 'operator', 'sidecar', 'local'].map((folder) => `--test-coverage-include=${folder}/**/*.ts`),
      ...flags,
      ...(files.length > 0 ? files : ['test/unit/**/*.test.ts']),
    ],
    process.env,
  ),
)
