import type { CalculateService, ConsumerGroup, RetryPolicy } from '../../crds/types.ts'
import { pausesMilliseconds } from '../../sidecar/retry-pauses.ts'

/**
 * Why calls that go on beyond their deadlines may outlive what is kept of them (SEMANTICS 1); undefined: they do not, or none goes on.
 * Only what the resources say is looked at: a topic that was there before may keep its records for another time.
 */
export function retentionProblem(
  service: CalculateService,
  group: ConsumerGroup,
  policy: RetryPolicy | undefined,
): string | undefined {
  if (policy === undefined || policy.spec.onExpired === 'Drop') return undefined
  const { methods, results, topic } = service.spec
  const timeouts = methods.map(({ timeoutMilliseconds }) => timeoutMilliseconds)
  const kept = results.retentionSeconds * 1000
  const longest = policy.spec.maxAttempts * group.spec.timeoutMilliseconds + pausesMilliseconds(policy.spec)
  if (longest > Math.min(...timeouts) + kept) {
    return `all attempts and pauses of a call may take ${longest} ms, and what is kept of it ends ${kept} ms after its deadline (results.retentionSeconds): attempts that would come later are not made`
  }
  const ofTopic = Number(topic.config['retention.ms'] ?? -1)
  const latest = Math.max(...timeouts) + kept
  if (ofTopic >= 0 && ofTopic < latest) {
    return `a call may be run ${latest} ms after it came, and topic.config["retention.ms"] is ${ofTopic}: it may be deleted unread`
  }
  return undefined
}
