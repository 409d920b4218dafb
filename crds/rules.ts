/**
 * The CEL rules (`x-kubernetes-validations`) of a schema, evaluated as the API server does: a rule at the place it
 * is written, a transition rule only where the earlier state has that place too.
 */
import { celEnv, type CelInput, isCelError, parse, plan } from '@bufbuild/cel'
import { field, item, type Path } from './path.ts'
import { type ArraySchema, fieldSchema, type Rule, type Schema } from './schema.ts'

/** Answers whether the rule holds, or why that cannot be told. */
type Evaluate = (self: CelInput, oldSelf: CelInput) => true | false | { readonly cannot: string }

export interface RuleProblem {
  readonly path: Path
  readonly message: string
}

/** A schema with its rules ready to run. */
export interface Rules {
  /**
   * The rules that do not hold for a value that its schema accepts (with defaults filled in).
   * `skip` says where no rule may run, because the value there is malformed.
   */
  check(value: unknown, old: { readonly value: unknown } | undefined, skip: (path: Path) => boolean): RuleProblem[]
}

const isTransition = (rule: Rule): boolean => /\boldSelf\b/.test(rule.rule)

/**
 * Parses and plans every rule of a schema.
 * @throws Error naming the rule that is not CEL.
 */
export function compileRules(root: Schema): Rules {
  const environment = celEnv()
  const compiled = new Map<Rule, Evaluate>()
  const compile = (schema: Schema): void => {
    for (const rule of schema['x-kubernetes-validations'] ?? []) compiled.set(rule, compileRule(rule))
    if (schema.type === 'array') compile(schema.items)
    if (schema.type === 'object') {
      for (const property of Object.values(schema.properties ?? {})) compile(property)
      if (schema.additionalProperties !== undefined) compile(schema.additionalProperties)
    }
  }
  const compileRule = (rule: Rule): Evaluate => {
    let run: (bindings: Record<string, CelInput>) => unknown
    try {
      run = plan(environment, parse(rule.rule))
    } catch (cause) {
      throw new Error(`the rule "${rule.rule}" is not CEL`, { cause })
    }
    return (self, oldSelf) => {
      const result = run({ self, oldSelf })
      if (typeof result === 'boolean') return result
      return { cannot: isCelError(result) ? result.message : 'its value is not a boolean' }
    }
  }
  compile(root)

  return {
    check(value, old, skip) {
      const problems: RuleProblem[] = []
      const visit = (schema: Schema, current: unknown, before: { readonly value: unknown } | undefined, path: Path) => {
        if (!skip(path)) {
          for (const rule of schema['x-kubernetes-validations'] ?? []) {
            if (isTransition(rule) && before === undefined) continue
            const answer = compiled.get(rule)!(toCel(current, schema), toCel(before?.value ?? null, schema))
            if (answer === true) continue
            problems.push({
              path: rule.fieldPath === undefined ? path : [...path, ...rule.fieldPath.slice(1).split('.')],
              message:
                answer === false ? rule.message : `the rule "${rule.rule}" cannot be evaluated: ${answer.cannot}`,
            })
          }
        }
        if (schema.type === 'array' && Array.isArray(current)) {
          current.forEach((entry: unknown, index) => {
            visit(schema.items, entry, counterpart(schema, entry, before?.value), item(path, index))
          })
        }
        if (schema.type === 'object' && isObject(current)) {
          for (const [name, entry] of Object.entries(current)) {
            const inner = fieldSchema(schema, name)
            if (inner === undefined) continue
            const earlier = before?.value
            const inside = isObject(earlier) && Object.hasOwn(earlier, name) ? { value: earlier[name] } : undefined
            visit(inner, entry, inside, field(path, name))
          }
        }
      }
      visit(root, value, old, [])
      return problems
    },
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Only the entries of a list of type map have an identity from one state to the next. */
function counterpart(schema: ArraySchema, entry: unknown, old: unknown): { readonly value: unknown } | undefined {
  const keys = schema['x-kubernetes-list-map-keys']
  if (keys === undefined || !Array.isArray(old) || !isObject(entry)) return undefined
  const found: unknown = old.find((one: unknown) => isObject(one) && keys.every((key) => one[key] === entry[key]))
  return found === undefined ? undefined : { value: found }
}

/** JSON to CEL: an integer must be CEL's int, which is a bigint here (a number would be a double). */
function toCel(value: unknown, schema: Schema): CelInput {
  if (value === null) return null
  if (schema.type === 'integer' && typeof value === 'number') return BigInt(value)
  if (schema.type === 'array' && Array.isArray(value)) return value.map((entry: unknown) => toCel(entry, schema.items))
  if (schema.type === 'object' && isObject(value)) {
    const entries: [string, CelInput][] = []
    for (const [name, entry] of Object.entries(value)) {
      const inner = fieldSchema(schema, name)
      // What the schema does not declare is not visible to rules, in the API server neither.
      if (inner !== undefined) entries.push([name, toCel(entry, inner)])
    }
    return new Map(entries)
  }
  return value as CelInput
}
