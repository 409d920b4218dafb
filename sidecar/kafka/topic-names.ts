/** The topics of one service, by the name of the one that its calls come on. */

/** The failure topic: what cannot be done (SEMANTICS 7). */
export const deadTopic = (topic: string): string => `${topic}.dead`

/**
 * A group that nobody is in: its lag on the failure topic is the number of dead letters that are not done with, by the word of whoever
 * redrove or discarded some last. Without offsets there was nobody yet, and every record is one. No ConsumerGroup can have the name.
 */
export const openLettersGroup = (topic: string): string => `${deadTopic(topic)}:open`

/** Where calls wait for the end of a pause of the retry policy. @param step from 1. */
export const retryTopic = (topic: string, step: number): string => `${topic}.retry.${step}`

/**
 * Pauses that differ have topics of their own, so that those that end earlier never stand behind longer ones; so many at most:
 * a topic costs every broker and every fetch. From then on pauses share the last one, and wait there in the order of their
 * records only where more of them wait than a worker keeps in view.
 */
export const MOST_RETRY_STEPS = 8
