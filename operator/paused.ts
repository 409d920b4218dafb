import type { KubeObject } from './controller/object.ts'

const RECONCILIATION = 'grpckafka.dev/reconciliation'

/** Whether somebody wants the operator to keep its hands off. */
export const isPaused = ({ metadata }: KubeObject): boolean => metadata.annotations?.[RECONCILIATION] === 'paused'
