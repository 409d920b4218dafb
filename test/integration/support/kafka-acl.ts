import { readFileSync } from 'node:fs'
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs'
import type { AclEntry } from 'kafkajs'

const docs = readFileSync(new URL('../../../docs/kafka.md', import.meta.url), 'utf8')

const RESOURCES: Readonly<Record<string, AclResourceTypes>> = {
  Topic: AclResourceTypes.TOPIC,
  Group: AclResourceTypes.GROUP,
}
const OPERATIONS: Readonly<Record<string, AclOperationTypes>> = {
  Read: AclOperationTypes.READ,
  Write: AclOperationTypes.WRITE,
}

/** What docs/kafka.md says that a sidecar's user must be allowed to do; the users are called as the roles are. */
export function documentedAcls(names: { readonly topic: string; readonly group: string }): AclEntry[] {
  const block = /```acl\n([^`]+)```/.exec(docs)?.[1]
  if (block === undefined) throw new Error('docs/kafka.md has no list')
  return block
    .trim()
    .split('\n')
    .map((line) => {
      const [role = '', resource = '', name = '', operation = ''] = line.split(/\s+/)
      const resourceType = RESOURCES[resource]
      const allowed = OPERATIONS[operation]
      if (resourceType === undefined || allowed === undefined) throw new Error(`docs/kafka.md: ${line}`)
      return {
        principal: `User:${role}`,
        host: '*',
        resourceType,
        resourceName: name.replace('TOPIC', names.topic).replace('GROUP', names.group),
        resourcePatternType: ResourcePatternTypes.LITERAL,
        operation: allowed,
        permissionType: AclPermissionTypes.ALLOW,
      }
    })
}
