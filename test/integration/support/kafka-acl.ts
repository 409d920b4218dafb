import { readFileSync } from 'node:fs'
import kafkajs from 'kafkajs'
import type { AclEntry, AclOperationTypes, AclResourceTypes } from 'kafkajs'

const docs = readFileSync(new URL('../../../docs/kafka.md', import.meta.url), 'utf8')

const RESOURCES: Readonly<Record<string, AclResourceTypes>> = {
  Topic: kafkajs.AclResourceTypes.TOPIC,
  Group: kafkajs.AclResourceTypes.GROUP,
}
const OPERATIONS: Readonly<Record<string, AclOperationTypes>> = {
  Read: kafkajs.AclOperationTypes.READ,
  Write: kafkajs.AclOperationTypes.WRITE,
}

/** One line of the documentation. */
export interface Permission {
  readonly line: string
  readonly role: 'proxy' | 'worker'
  readonly resource: string
  /** For the topic and the group of a route. The user is called as the role is. */
  of(route: { readonly topic: string; readonly groupId: string }): AclEntry
}

/** What docs/kafka.md says that a sidecar's user must be allowed to do: in any case, or where there are retry topics. */
export function documentedPermissions(list: 'acl' | 'acl-retry' = 'acl'): readonly Permission[] {
  const block = new RegExp(`\`\`\`${list}\n([^\`]+)\`\`\``).exec(docs)?.[1]
  if (block === undefined) throw new Error(`docs/kafka.md has no list ${list}`)
  return block.trim().split('\n').map(permission)
}

function permission(text: string): Permission {
  const line = text.replace(/\s+/g, ' ')
  const [role, resource = '', name = '', operationName = ''] = line.split(' ')
  const resourceType = RESOURCES[resource]
  const operation = OPERATIONS[operationName]
  if ((role !== 'proxy' && role !== 'worker') || resourceType === undefined || operation === undefined)
    throw new Error(`docs/kafka.md: ${line}`)
  return {
    line,
    role,
    resource,
    of: ({ topic, groupId }) => ({
      principal: `User:${role}`,
      host: '*',
      resourceType,
      resourceName: name.replace('TOPIC', topic).replace('GROUP', groupId),
      resourcePatternType: kafkajs.ResourcePatternTypes.LITERAL,
      operation,
      permissionType: kafkajs.AclPermissionTypes.ALLOW,
    }),
  }
}
