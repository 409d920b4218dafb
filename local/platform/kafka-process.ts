/** One process of Kafka: its settings, its data, its start. */
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PartMissingError } from './part-missing.ts'
import { startServer, type Server } from './server.ts'
import { runTool } from './tool.ts'

export const START_MILLISECONDS = 90_000
export const RUNNING_KAFKA = 'use a Kafka that runs already: KAFKA_BROKERS=host:port[,host:port]'

/** Java, and what it is told to find Kafka and to start it fast. */
export type KafkaProgram = { readonly java: string; readonly options: readonly string[] }

export type KafkaProcessOptions = {
  readonly program: KafkaProgram
  /** Data, settings and logs go here; made when it is not there. A folder that has data is continued. */
  readonly directory: string
  /** Kafka's own settings, without `log.dirs`. */
  readonly properties: Readonly<Record<string, string>>
  /** More for Java: its heap. */
  readonly javaOptions?: readonly string[]
  /** Users that a new folder begins with, by their passwords (SCRAM-SHA-512). */
  readonly users?: Readonly<Record<string, string>>
  readonly address: string
  /** Resolves when it does its work. @throws the signal's reason */
  readonly untilAnswers: (signal: AbortSignal) => Promise<void>
}

/** The better compiler pays only for what runs on. */
export const SHORT_LIVED = ['-XX:TieredStopAtLevel=1']
/** Any valid id will do: the folders are private to this cluster. */
const CLUSTER_ID = 'Z3JwYy1rYWZrYS1sb2NhbA'

/** @throws PartMissingError, PartFailedError, ToolError */
export async function startKafkaProcess(options: KafkaProcessOptions, signal?: AbortSignal): Promise<Server> {
  const { program, directory, properties, javaOptions = [], address, untilAnswers } = options
  const file = join(directory, 'server.properties')
  const log = join(directory, 'log4j2.xml')
  const data = join(directory, 'data')
  await mkdir(directory, { recursive: true })
  await writeFile(file, lines({ ...properties, 'log.dirs': data }))
  await writeFile(log, LOG_SETTINGS)
  const java = [...program.options, `-Dlog4j2.configurationFile=${log}`]
  if (!(await exists(join(data, 'meta.properties')))) {
    await format(program.java, [...java, ...SHORT_LIVED], file, options.users ?? {}, signal)
  }
  return startServer(
    {
      name: 'Kafka',
      address,
      process: { command: program.java, args: [...java, ...javaOptions, 'kafka.Kafka', file], directory },
      logFile: join(directory, 'kafka.log'),
      startMilliseconds: START_MILLISECONDS,
      untilAnswers,
    },
    signal,
  )
}

async function format(
  java: string,
  options: readonly string[],
  file: string,
  users: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<void> {
  const scram = Object.entries(users).flatMap(([name, password]) => [
    '--add-scram',
    `SCRAM-SHA-512=[name=${name},password=${password}]`,
  ])
  const tool = ['kafka.tools.StorageTool', 'format', '-t', CLUSTER_ID, '-c', file, ...scram]
  try {
    await runTool(java, [...options, ...tool], { signal })
  } catch (cause) {
    if (!(cause instanceof Error) || !cause.message.includes('UnsupportedClassVersionError')) throw cause
    throw new PartMissingError(
      'Kafka',
      `${java} is older than Java 17`,
      ['install Java 17 or newer and put it first on PATH', RUNNING_KAFKA],
      { cause },
    )
  }
}

const lines = (properties: Readonly<Record<string, string>>): string =>
  Object.entries(properties)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  )

const LOG_SETTINGS = `<Configuration status="ERROR">
  <Appenders>
    <Console name="console" target="SYSTEM_OUT"><PatternLayout pattern="%d %p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="console"/></Root>
    <Logger name="kafka.server.KafkaRaftServer" level="INFO"/>
    <Logger name="org.apache.kafka.common.config" level="ERROR"/>
  </Loggers>
</Configuration>
`
