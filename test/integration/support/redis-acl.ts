import { readFileSync } from 'node:fs'

const docs = readFileSync(new URL('../../../docs/redis.md', import.meta.url), 'utf8')

/** What docs/redis.md says that a user must be allowed to do, as ACL SETUSER takes it. */
export function documentedAcl(list: 'acl' | 'acl-cluster'): readonly string[] {
  const block = new RegExp(`\`\`\`${list}\n([^\`]+)\`\`\``).exec(docs)?.[1]
  if (block === undefined) throw new Error(`docs/redis.md has no list ${list}`)
  return block.trim().split(/\s+/)
}
