/** What is told of a reconcile to whoever runs `kubectl describe`: things that were done outside Kubernetes, and a Ready that changed. */
import type { KubeEvent } from '../controller/events.ts'
import type { TopicAction } from '../kafka/topic-plan.ts'
import type { Outcome } from './execute.ts'
import type { Plan } from './plan.ts'
import type { ServiceStatus } from './status.ts'

/** @param after what the status says from now on; undefined where the object is gone. */
export function eventsOf(
  plan: Plan,
  outcomes: readonly Outcome[],
  before: ServiceStatus | undefined,
  after: ServiceStatus | undefined,
): readonly KubeEvent[] {
  const done = outcomes.flatMap((outcome) =>
    outcome.action.type === 'Topic' && !('failure' in outcome) && outcome.topic !== 'WasThere'
      ? [ofTopic(outcome.action.action)].flat()
      : [],
  )
  const replaced = plan.type === 'Keep' ? plan.replacedTopics.map(ofReplaced) : []
  const lastTries = outcomes.flatMap((outcome) =>
    'failure' in outcome && outcome.action.isLastTry === true ? [outcome.action] : [],
  )
  const stubborn = lastTries.flatMap((action) => (action.type === 'Consul' ? [action.access.address] : []))
  const left = plan.type === 'Paused' ? [] : [...new Set([...plan.leftConsul, ...stubborn])].map(ofLeftConsul)
  const areTopicsLeft = (plan.type === 'Leave' && plan.gaveUp) || lastTries.some(({ type }) => type === 'Topic')
  return [...done, ...replaced, ...left, ...(areTopicsLeft ? [LEFT] : []), ...ofReady(before, after)]
}

function ofTopic(action: TopicAction): readonly KubeEvent[] {
  switch (action.type) {
    case 'CreateTopic': {
      const { name, partitions } = action.topic
      const made = `topic ${name} with ${partitions} partitions`
      return action.insteadOf === undefined
        ? [normal('TopicCreated', 'CreateTopic', made)]
        : [
            warning(
              'TopicRecreated',
              'CreateTopic',
              `${made}: somebody deleted ${action.insteadOf}, with all that it held`,
            ),
          ]
    }
    case 'GrowTopic':
      return [normal('TopicGrown', 'GrowTopic', `topic ${action.name} from ${action.from} to ${action.to} partitions`)]
    case 'AlterTopic': {
      const drifted = action.drifted.map((name) => `${name} is ${action.set[name] ?? ''} again`)
      const changed = [...Object.keys(action.set).filter((name) => !action.drifted.includes(name)), ...action.unset]
      return [
        ...(drifted.length === 0
          ? []
          : [
              warning(
                'TopicDriftReverted',
                'AlterTopic',
                `topic ${action.name}: somebody changed it; ${drifted.join(', ')}`,
              ),
            ]),
        ...(changed.length === 0
          ? []
          : [normal('TopicAltered', 'AlterTopic', `topic ${action.name}: ${changed.join(', ')}`)]),
      ]
    }
    case 'DeleteTopic':
      return [normal('TopicDeleted', 'DeleteTopic', `topic ${action.name}, with all that it held`)]
  }
}

const ofReplaced = (name: string): KubeEvent =>
  warning(
    'TopicReplaced',
    'AdoptTopic',
    `topic ${name}: somebody made it anew; it is kept, and not deleted with this resource`,
  )

const ofLeftConsul = (address: string): KubeEvent =>
  warning(
    'RegistrationsLeft',
    'DeregisterInstance',
    `${address}: its proxies could not be deregistered in time and stay`,
  )

const LEFT = warning('TopicsLeft', 'DeleteTopic', 'its topics could not be deleted in time and stay')

function ofReady(before: ServiceStatus | undefined, after: ServiceStatus | undefined): readonly KubeEvent[] {
  const ready = after?.conditions?.find(({ type }) => type === 'Ready')
  const was = before?.conditions?.find(({ type }) => type === 'Ready')
  if (ready === undefined || (was?.status === ready.status && was.reason === ready.reason)) return []
  const type = ready.status === 'True' || ready.reason === 'Deleting' ? 'Normal' : 'Warning'
  return [{ type, reason: ready.reason, action: 'Reconcile', note: ready.message }]
}

function normal(reason: string, action: string, note: string): KubeEvent {
  return { type: 'Normal', reason, action, note }
}

function warning(reason: string, action: string, note: string): KubeEvent {
  return { type: 'Warning', reason, action, note }
}
