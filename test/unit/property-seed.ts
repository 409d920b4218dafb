/**
 * Loaded before each unit test: the property tests take the same values in every run, so that a red one is the doing of
 * the change under test. `FAST_CHECK_SEED=random` looks for what these values do not show; any number repeats a run.
 */
import fc from 'fast-check'

const asked = process.env['FAST_CHECK_SEED'] ?? '1'
if (asked !== 'random') {
  const seed = Number(asked)
  if (!Number.isInteger(seed)) throw new Error(`FAST_CHECK_SEED must be an integer or "random", not "${asked}"`)
  fc.configureGlobal({ seed })
}
