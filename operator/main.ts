/** The operator: `node operator/main.ts --help` lists its flags. */
import { hostname } from 'node:os'
import { addServiceController, WRITTEN_FOR_SERVICES } from './calculateservice/controller.ts'
import { OperatorConfigError, readConfig, usage } from './config.ts'
import type { OperatorConfig } from './config.ts'
import { systemClock } from './controller/clock.ts'
import { KafkaTopicAdmin } from './kafka/topic-admin.ts'
import { TopicAdmins } from './kafka/topic-admins.ts'
import { runOperator } from './run.ts'

if (process.argv.includes('--help')) {
  process.stdout.write(usage())
  process.exit(0)
}
const kafka = new TopicAdmins(systemClock, (access) => new KafkaTopicAdmin(access))
await runOperator(configuration(), {
  written: WRITTEN_FOR_SERVICES,
  addControllers: (context) => addServiceController(context, kafka),
  close: () => kafka.close(),
})

function configuration(): OperatorConfig {
  try {
    return readConfig(process.argv.slice(2), process.env, hostname())
  } catch (error) {
    if (!(error instanceof OperatorConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
}
