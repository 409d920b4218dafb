import type { ConsumerGroup } from '../../crds/types.ts'

/** How a handler is run as a process on this machine. */
export type HandlerPlan = {
  /** The program and its arguments, as written: `$(NAME)` is not expanded yet. */
  readonly command: readonly string[]
  /** Names and values in their order, as written. */
  readonly variables: readonly (readonly [name: string, value: string])[]
  /** The container has a variable `PORT`: each replica is told a port of its own there. */
  readonly ownPort: boolean
}

export type HandlerProcess = {
  readonly command: string
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

/** What is really started, for a replica that listens on `port`. */
export function handlerProcess({ command, variables, ownPort }: HandlerPlan, port: number): HandlerProcess {
  const environment: Record<string, string> = {}
  for (const [name, value] of variables) {
    // A variable sees those before it, as in a pod.
    environment[name] = ownPort && name === 'PORT' ? String(port) : expandVariables(value, environment)
  }
  const [program = '', ...args] = command.map((part) => expandVariables(part, environment))
  return { command: program, args, environment }
}

type Planned =
  { readonly ok: true; readonly plan: HandlerPlan } | { readonly ok: false; readonly problems: readonly string[] }

type Container = ConsumerGroup['spec']['template']['spec']['containers'][number]

/** The pod's own fields that mean something on one machine as well. */
const FIELDS: Readonly<Record<string, (group: ConsumerGroup) => string>> = {
  'status.podIP': () => '127.0.0.1',
  'status.hostIP': () => '127.0.0.1',
  'metadata.name': (group) => group.metadata.name,
  'metadata.namespace': (group) => group.metadata.namespace ?? 'default',
}

/**
 * The handler's process, from the pod template: the container named `handler`, else the first, with its command,
 * arguments and variables. Every problem is a line that begins with the field's path.
 */
export function planHandler(group: ConsumerGroup): Planned {
  const { containers } = group.spec.template.spec
  const index = Math.max(
    0,
    containers.findIndex(({ name }) => name === 'handler'),
  )
  const path = `spec.template.spec.containers[${index}]`
  const container = containers[index]
  if (!container) return { ok: false, problems: [`${path}: is required`] }

  const problems: string[] = []
  const variables = readVariables(container, group, path, problems)
  const ownPort = variables.some(([name]) => name === 'PORT')
  if (!container.command || container.command.length === 0) {
    problems.push(
      `${path}.command: is needed on one machine, where no image and so no entry point is; add the command that starts the handler from the folder of this file`,
    )
  }
  if (group.spec.replicas > 1 && !ownPort) {
    problems.push(
      `spec.replicas: ${group.spec.replicas} handlers cannot share port ${group.spec.handler.port} of one machine; ` +
        `let the handler read its port from PORT and add that variable to ${path}.env, or have one replica`,
    )
  }
  if (problems.length > 0) return { ok: false, problems }
  return { ok: true, plan: { command: [...(container.command ?? []), ...(container.args ?? [])], variables, ownPort } }
}

function readVariables(
  container: Container,
  group: ConsumerGroup,
  path: string,
  problems: string[],
): HandlerPlan['variables'] {
  return (container.env ?? []).flatMap(({ name, value, ...more }, index): [string, string][] => {
    const source = more['valueFrom'] as { readonly fieldRef?: { readonly fieldPath?: string } } | undefined
    if (source === undefined) return [[name, value ?? '']]
    const read = FIELDS[source.fieldRef?.fieldPath ?? '']
    if (read) return [[name, read(group)]]
    // Secrets and config maps are in the cluster: a developer gives such values in the terminal's own environment.
    if (process.env[name] === undefined) {
      problems.push(
        `${path}.env[${index}].valueFrom: cannot be read without a cluster; set ${name} in this terminal's environment`,
      )
    }
    return []
  })
}

/** `$(NAME)` as the kubelet expands it: what is not known stays, and `$$(NAME)` is `$(NAME)`. */
function expandVariables(text: string, environment: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([^()\s]+)\)/g, (match, name: string | undefined) =>
    name === undefined ? '$' : (environment[name] ?? match),
  )
}
