/** Every name that the data plane uses in Redis. The braces keep what belongs to one call in one Cluster slot. */
import type { CallId } from '../call-id.ts'

const PREFIX = 'gk'

/** String: the call's outcome. */
export const callKey = (id: CallId): string => `${PREFIX}:{${id.toString('hex')}}`

/** String, JSON: what a call of the topic is known by to whoever has its id. */
export const handleKey = (id: CallId, topic: string): string => `${PREFIX}:{${id.toString('hex')}}:of:${topic}`

/** Hash: until when a cancelled call has to be known to the topic's workers, by its id. */
export const cancelledKey = (topic: string): string => `${PREFIX}:cancelled:{${topic}}`

/**
 * Hash: how often a call was started that may start twice, and who asked last. Each redrive counts anew.
 * @param revision of the redrive; 0: none.
 */
export const startsKey = (id: CallId, revision = 0): string =>
  `${PREFIX}:{${id.toString('hex')}}:starts${ofRevision(revision)}`

/** String that never exists, in the place of an outcome, for an Observer: its records have none. */
export const observedKey = (id: CallId, groupId: string): string =>
  `${PREFIX}:{${id.toString('hex')}}:observed:${groupId}`

/** As `startsKey`, for the starts in an Observer's group. */
export const observedStartsKey = (id: CallId, groupId: string, revision = 0): string =>
  `${observedKey(id, groupId)}:starts${ofRevision(revision)}`

const ofRevision = (revision: number): string => (revision === 0 ? '' : `:${revision}`)

/** Pub/sub channel on which one proxy replica is woken. */
export const replyChannel = (instance: string): string => `${PREFIX}:reply:${instance}`

/** Hash of what a topic's workers say of how fast their work goes, by instance. */
export const flowKey = (topic: string): string => `${PREFIX}:flow:{${topic}}`

/** Sorted set of the worker instances that have work running in a partition, scored by when that stops being true. */
export const workingKey = (groupId: string, topic: string, partition: number): string =>
  `${PREFIX}:working:{${groupId}/${topic}/${partition}}`

/** String: what a group has finished of one log, which is that of one topic and not of an earlier one of its name. */
export const watermarkKey = (
  groupId: string,
  { topic, topicId, partition }: { readonly topic: string; readonly topicId: string; readonly partition: number },
): string => `${PREFIX}:watermark:{${groupId}/${topic}/${partition}}:${topicId}`

/** Names the master whose clock is the shared one: the one that owns this key. There is never a value. */
export const CLOCK_KEY = `${PREFIX}:clock`
