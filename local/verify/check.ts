/** One part of the static gate. */
export interface Check {
  readonly name: string
  /** What is wrong, in lines for people; nothing when all is well. */
  run(root: string): Promise<readonly string[]>
}
