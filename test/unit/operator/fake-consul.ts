import type {
  ConsulAccess,
  ConsulCatalog,
  ConsulScope,
  FoundInstance,
  FoundInstances,
  ObservedCatalog,
} from '../../../operator/registry/consul-client.ts'
import type { ConsulAction, ObservedInstance } from '../../../operator/registry/consul-plan.ts'
import type { ConsulProblem } from '../../../operator/registry/consul-problem.ts'

/** Every Consul there is, in memory, by address and node. */
export class FakeConsul implements ConsulCatalog {
  /** What was done, in order: `RegisterInstance http://consul:8500 uid passing`. */
  readonly done: string[] = []
  /** With which tokens, in order. */
  readonly tokens: (string | undefined)[] = []
  /** Thrown at every question, by address. */
  readonly down = new Map<string, ConsulProblem>()
  /** Thrown at every action, by address. */
  readonly refuses = new Map<string, ConsulProblem>()
  isPartial = false
  /** What agents have, by service. */
  readonly found = new Map<string, readonly FoundInstance[]>()
  readonly #nodes = new Map<string, Map<string, ObservedInstance>>()

  at(address: string, node = 'grpc-kafka-default'): Map<string, ObservedInstance> {
    const key = `${address} ${node}`
    const instances = this.#nodes.get(key) ?? new Map<string, ObservedInstance>()
    this.#nodes.set(key, instances)
    return instances
  }

  async observe(access: ConsulAccess, { node, marks }: ConsulScope): Promise<ObservedCatalog> {
    this.#fail(this.down, access)
    this.tokens.push(access.token)
    const ours = ({ meta }: ObservedInstance): boolean =>
      marks.some((mark) => Object.entries(mark).every(([key, value]) => meta[key] === value))
    return { instances: [...this.at(access.address, node).values()].filter(ours), isPartial: this.isPartial }
  }

  async find(access: ConsulAccess, service: string): Promise<FoundInstances> {
    this.#fail(this.down, access)
    this.tokens.push(access.token)
    return { instances: this.found.get(service) ?? [], isPartial: this.isPartial }
  }

  async execute(access: ConsulAccess, node: string, action: ConsulAction): Promise<void> {
    this.#fail(this.down, access)
    this.#fail(this.refuses, access)
    const instances = this.at(access.address, node)
    if (action.type === 'RegisterInstance') {
      const { instance } = action
      this.done.push(`${action.type} ${access.address} ${instance.id} ${instance.health}`)
      instances.set(instance.id, instance)
    } else {
      this.done.push(`${action.type} ${access.address} ${action.id}`)
      instances.delete(action.id)
    }
  }

  #fail(problems: ReadonlyMap<string, ConsulProblem>, { address }: ConsulAccess): void {
    const problem = problems.get(address)
    if (problem !== undefined) throw problem
  }
}
