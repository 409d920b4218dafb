/** The operator: `node operator/main.ts --help` lists its flags. */
import { hostname } from 'node:os'
import { addServiceController, WRITTEN_FOR_SERVICES } from './calculateservice/controller.ts'
import { OperatorConfigError, readConfig, usage } from './config.ts'
import type { OperatorConfig } from './config.ts'
import { addGroupController, WRITTEN_FOR_GROUPS } from './consumergroup/controller.ts'
import { systemClock } from './controller/clock.ts'
import { KafkaGroupAdmin } from './kafka/group-admin.ts'
import { KafkaRequests } from './kafka/kafka-requests.ts'
import { KafkaTopicAdmin } from './kafka/topic-admin.ts'
import { TopicAdmins } from './kafka/topic-admins.ts'
import { HttpConsulCatalog } from './registry/consul-client.ts'
import { PatientCatalog } from './registry/patient-catalog.ts'
import { addPolicyController, WRITTEN_FOR_POLICIES } from './retrypolicy/controller.ts'
import { runOperator } from './run.ts'

if (process.argv.includes('--help')) {
  process.stdout.write(usage())
  process.exit(0)
}
const requests = new KafkaRequests()
const topics = new TopicAdmins(systemClock, (access) => new KafkaTopicAdmin(access, { asked: requests.asked }))
const groups = new TopicAdmins(systemClock, (access) => new KafkaGroupAdmin(access, requests.asked))
await runOperator(configuration(), {
  written: [...new Set([...WRITTEN_FOR_SERVICES, ...WRITTEN_FOR_GROUPS, ...WRITTEN_FOR_POLICIES])],
  addControllers: (context) => {
    requests.expose(context.metrics)
    addServiceController(
      context,
      topics,
      new PatientCatalog(new HttpConsulCatalog(context.config.instance), systemClock),
    )
    addGroupController(context, groups)
    addPolicyController(context)
  },
  close: async () => {
    await Promise.all([topics.close(), groups.close()])
  },
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
