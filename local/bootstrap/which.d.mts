/** The path of a program, or undefined when no folder of PATH has it. */
export function findOnPath(name: string, path?: string): string | undefined
