import assert from 'node:assert/strict'
import test from 'node:test'
import type { ConsumerGroup } from '../../../../crds/types.ts'
import { validateResource } from '../../../../crds/validate.ts'
import { handlerProcess, planHandler, type HandlerProcess } from '../../../../local/resources/handler.ts'

const groupOf = (containers: readonly object[], replicas = 1): ConsumerGroup => {
  const checked = validateResource({
    apiVersion: 'grpckafka.dev/v1alpha1',
    kind: 'ConsumerGroup',
    metadata: { name: 'orders', namespace: 'shop' },
    spec: {
      calculateServiceRef: { name: 'orders' },
      groupId: 'orders',
      replicas,
      handler: { port: 50051 },
      template: { spec: { containers } },
    },
  })
  assert.ok(checked.ok && checked.resource.kind === 'ConsumerGroup', JSON.stringify(checked))
  return checked.resource
}

const processOf = (group: ConsumerGroup, port: number): HandlerProcess => {
  const planned = planHandler(group)
  assert.ok(planned.ok, JSON.stringify(planned))
  return handlerProcess(planned.plan, port)
}

const problemsOf = (group: ConsumerGroup): readonly string[] => {
  const planned = planHandler(group)
  return planned.ok ? assert.fail('the handler was accepted') : planned.problems
}

test('the container named handler is the handler, else the first', () => {
  const one = { name: 'one', image: 'i', command: ['one'] }
  assert.equal(processOf(groupOf([one, { name: 'handler', image: 'i', command: ['two'] }]), 1).command, 'two')
  assert.equal(processOf(groupOf([one, { name: 'other', image: 'i', command: ['two'] }]), 1).command, 'one')
})

test('command and args are put together, and variables expanded as the kubelet does', () => {
  const env = [
    { name: 'HOST', value: 'localhost' },
    { name: 'URL', value: 'http://$(HOST):$(PORT)' },
    { name: 'PORT', value: '50051' },
    { name: 'LATER', value: '$(PORT)' },
  ]
  const command = ['server', '--at', '$(LATER)', '$(UNKNOWN)', '$$(HOST)', '$HOST']
  assert.deepEqual(processOf(groupOf([{ name: 'c', image: 'i', command, args: ['$(URL)'], env }]), 7), {
    command: 'server',
    args: ['--at', '7', '$(UNKNOWN)', '$(HOST)', '$HOST', 'http://localhost:$(PORT)'],
    environment: { HOST: 'localhost', URL: 'http://localhost:$(PORT)', PORT: '7', LATER: '7' },
  })
})

test('fields of the pod that mean something here are filled in', () => {
  const fieldRef = (fieldPath: string) => ({ valueFrom: { fieldRef: { fieldPath } } })
  const env = [
    { name: 'IP', ...fieldRef('status.podIP') },
    { name: 'NAME', ...fieldRef('metadata.name') },
    { name: 'NAMESPACE', ...fieldRef('metadata.namespace') },
  ]
  assert.deepEqual(processOf(groupOf([{ name: 'c', image: 'i', command: ['x'], env }]), 7).environment, {
    IP: '127.0.0.1',
    NAME: 'orders',
    NAMESPACE: 'shop',
  })
})

test('a value that only a cluster has is a problem, unless the terminal has the variable', (context) => {
  const env = [{ name: 'GRPC_KAFKA_TEST_SECRET', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }]
  const group = groupOf([{ name: 'c', image: 'i', command: ['x'], env }])
  assert.deepEqual(problemsOf(group), [
    "spec.template.spec.containers[0].env[0].valueFrom: cannot be read without a cluster; set GRPC_KAFKA_TEST_SECRET in this terminal's environment",
  ])
  process.env['GRPC_KAFKA_TEST_SECRET'] = 'given'
  context.after(() => delete process.env['GRPC_KAFKA_TEST_SECRET'])
  assert.deepEqual(processOf(group, 7).environment, {}, 'the process inherits it')
})

test('without a command the field is named: there is no image here', () => {
  const [problem = ''] = problemsOf(
    groupOf([
      { name: 'side', image: 'i' },
      { name: 'handler', image: 'i', args: ['x'] },
    ]),
  )
  assert.match(problem, /^spec\.template\.spec\.containers\[1\]\.command: is needed on one machine/)
})

test('several replicas need a port each', () => {
  const fixed = { name: 'c', image: 'i', command: ['x'] }
  assert.match(problemsOf(groupOf([fixed], 2)).join(), /^spec\.replicas: 2 handlers cannot share port 50051/)
  const own = { ...fixed, env: [{ name: 'PORT', value: '50051' }] }
  assert.equal(processOf(groupOf([own], 2), 41).environment['PORT'], '41')
})
