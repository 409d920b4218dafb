import { ensureKafka } from '../../../local/platform/kafka-program.ts'
import { runTool } from '../../../local/platform/tool.ts'

/** Gives a user another password (SCRAM-SHA-512), by Kafka's own tool: kafkajs has no request for it. */
export async function changePassword(brokers: readonly string[], user: string, password: string): Promise<void> {
  const { java, options } = await ensureKafka(() => undefined)
  const tool = `kafka.admin.ConfigCommand --bootstrap-server ${brokers.join(',')} --alter`
  const change = `--entity-type users --entity-name ${user} --add-config SCRAM-SHA-512=[password=${password}]`
  await runTool(java, [...options, ...tool.split(' '), ...change.split(' ')])
}
