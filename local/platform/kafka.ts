/**
 * A Kafka broker of one's own: version 4.1.0 in KRaft mode, broker and controller in one process, with nothing
 * replicated and everything in one folder.
 */
import { mkdir, readdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findOnPath } from '../bootstrap/which.mjs'
import { untilKafkaAnswers } from '../kafka/admin.ts'
import { reportToTerminal, type Report } from '../report.ts'
import { cached } from './cache.ts'
import { installPackages, mayInstall } from './debian.ts'
import { freePort } from './free-port.ts'
import { PartMissingError } from './part-missing.ts'
import { PartFailedError } from './part-failed.ts'
import { startServer, type Server } from './server.ts'
import { runTool } from './tool.ts'

const VERSION = '4.1.0'
const BINDING_VERSION = '2.24.3'
const COPY_PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
const START_MILLISECONDS = 90_000
/** Any valid id will do: the folder is private to this broker. */
const CLUSTER_ID = 'Z3JwYy1rYWZrYS1sb2NhbA'

export type KafkaOptions = {
  /** Data, settings and logs go here; made when it is not there. A folder that has data is continued. */
  readonly directory: string
  /** Chosen when not given. */
  readonly port?: number
  /** Broker settings that are added or replace those of this file. */
  readonly properties?: Readonly<Record<string, string>>
  readonly report?: Report
}

export type KafkaServer = Server & {
  /** `host:port` */
  readonly brokers: readonly string[]
}

/**
 * Gets what is missing (Java, Kafka's jars), starts a broker and waits until it answers.
 *
 * @param signal  gives the start up; its reason is thrown and nothing is left running
 * @throws PartMissingError when a part cannot be had, PartFailedError with the end of the log when it does not come up
 */
export async function startKafka(options: KafkaOptions, signal?: AbortSignal): Promise<KafkaServer> {
  const { directory, report = reportToTerminal } = options
  const program = await ensureKafka(report, signal)
  const port = options.port ?? (await freePort())
  const controllerPort = await freePort()
  const brokers = [`127.0.0.1:${port}`]
  const settings = await writeSettings(directory, port, controllerPort, options.properties ?? {})
  await formatOnce(program, directory, settings, signal)

  const server = await startServer(
    {
      name: 'Kafka',
      address: `127.0.0.1:${port}`,
      process: {
        command: program.java,
        args: [...program.options, ...settings.options, 'kafka.Kafka', settings.file],
        directory,
      },
      logFile: join(directory, 'kafka.log'),
      startMilliseconds: START_MILLISECONDS,
      untilAnswers: (given) => untilKafkaAnswers(brokers, given),
    },
    signal,
  )
  return Object.assign(server, { brokers })
}

type Settings = { readonly file: string; readonly options: readonly string[] }

async function writeSettings(
  directory: string,
  port: number,
  controllerPort: number,
  extra: Readonly<Record<string, string>>,
): Promise<Settings> {
  const file = join(directory, 'server.properties')
  const log = join(directory, 'log4j2.xml')
  await mkdir(directory, { recursive: true })
  await writeFile(file, serverProperties(directory, port, controllerPort, extra))
  await writeFile(log, LOG_SETTINGS)
  return { file, options: [`-Dlog4j2.configurationFile=${log}`] }
}

async function formatOnce(
  program: Program,
  directory: string,
  settings: Settings,
  signal?: AbortSignal,
): Promise<void> {
  if (await exists(join(directory, 'data', 'meta.properties'))) return
  const format = ['kafka.tools.StorageTool', 'format', '-t', CLUSTER_ID, '-c', settings.file]
  try {
    await runTool(program.java, [...program.options, ...SHORT_LIVED, ...settings.options, ...format], { signal })
  } catch (cause) {
    if (!(cause instanceof Error) || !cause.message.includes('UnsupportedClassVersionError')) throw cause
    throw new PartMissingError(
      'Kafka',
      `${program.java} is older than Java 17`,
      ['install Java 17 or newer and put it first on PATH', RUNNING_KAFKA],
      { cause },
    )
  }
}

/** Java, and what it is told to find Kafka and to start it fast. */
type Program = { readonly java: string; readonly options: readonly string[] }

/** The heap is small and its garbage short-lived; the collector for one core costs the least. */
const JVM = ['-Xms256m', '-Xmx512m', '-XX:+UseSerialGC', '-XX:-UsePerfData', '-Djava.awt.headless=true']
/** The better compiler pays only for what runs on. */
const SHORT_LIVED = ['-XX:TieredStopAtLevel=1']

/** @throws PartMissingError */
async function ensureKafka(report: Report, signal?: AbortSignal): Promise<Program> {
  const jars = await cached(`kafka-${VERSION}`, (directory) => fetchJars(directory, report, signal), { report })
  const java = await ensureProgram('java', 'default-jre-headless', report, signal)
  const program = { java, options: [...JVM, '-cp', join(jars, '*')] }
  const archive = await ensureClassArchive(program, report, signal)
  return { java, options: [...program.options, ...archive] }
}

/**
 * An archive of Kafka's classes as this Java has them in memory: with it a start takes little more than half of the CPU
 * time. It is made once, by a broker that starts and ends. A broker does without where that fails.
 */
async function ensureClassArchive(program: Program, report: Report, signal?: AbortSignal): Promise<readonly string[]> {
  const { mtimeMs, size } = await stat(await realpath(program.java))
  const fill = async (directory: string): Promise<void> => {
    report(`setup: Kafka ${VERSION}: archiving its classes for faster starts`)
    const trial = join(directory, 'trial')
    const port = await freePort()
    const settings = await writeSettings(trial, port, await freePort(), {})
    await formatOnce(program, trial, settings, signal)
    const archiving = [...SHORT_LIVED, `-XX:ArchiveClassesAtExit=${join(directory, 'classes.jsa')}`]
    const server = await startServer(
      {
        name: 'Kafka',
        address: `127.0.0.1:${port}`,
        process: {
          command: program.java,
          args: [...program.options, ...archiving, ...settings.options, 'kafka.Kafka', settings.file],
          directory: trial,
        },
        logFile: join(trial, 'kafka.log'),
        startMilliseconds: START_MILLISECONDS,
        untilAnswers: (given) => untilKafkaAnswers([`127.0.0.1:${port}`], given),
      },
      signal,
    )
    await server.stop(START_MILLISECONDS)
    await rm(trial, { recursive: true })
    if (!(await exists(join(directory, 'classes.jsa')))) throw new PartFailedError('Kafka', 'no archive was made', '')
  }
  try {
    const directory = await cached(`kafka-${VERSION}-classes-${size}-${Math.floor(mtimeMs)}`, fill, { report })
    return [`-XX:SharedArchiveFile=${join(directory, 'classes.jsa')}`]
  } catch (error) {
    signal?.throwIfAborted()
    report(
      `setup: Kafka ${VERSION}: its classes could not be archived, it starts without (${(error as Error).message})`,
    )
    return []
  }
}

async function fetchJars(directory: string, report: Report, signal?: AbortSignal): Promise<void> {
  const started = Date.now()
  await ensureProgram('java', 'default-jre-headless', report, signal)
  const mvn = await ensureProgram('mvn', 'maven', report, signal)
  report(`setup: Kafka ${VERSION}: fetching its jars with Maven`)
  const project = join(directory, '.project')
  await mkdir(project)
  await writeFile(join(project, 'pom.xml'), POM)
  let files = 0
  try {
    await runTool(
      mvn,
      ['-B', '-C', COPY_PLUGIN, '-DincludeScope=runtime', `-DoutputDirectory=${join(directory, '.jars')}`],
      {
        directory: project,
        signal,
        onLine: (line) => {
          if (!line.includes('Downloaded from')) return
          files += 1
          if (files % 40 === 0) report(`setup: Kafka ${VERSION}: ${files} files`)
        },
      },
    )
  } catch (cause) {
    signal?.throwIfAborted()
    throw new PartMissingError(
      'Kafka',
      `Maven could not fetch org.apache.kafka:kafka_2.13:${VERSION}\n${(cause as Error).message}`,
      ['make Maven Central (or your mirror of it, in ~/.m2/settings.xml) reachable', RUNNING_KAFKA],
      { cause },
    )
  }
  await rm(project, { recursive: true })
  await moveContents(join(directory, '.jars'), directory)
  report(`setup: Kafka ${VERSION}: ready in ${((Date.now() - started) / 1000).toFixed(1)} s`)
}

async function moveContents(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) await rename(join(from, name), join(to, name))
  await rm(from, { recursive: true })
}

const RUNNING_KAFKA = 'use a Kafka that runs already: KAFKA_BROKERS=host:port[,host:port]'

async function ensureProgram(
  name: string,
  debianPackage: string,
  report: Report,
  signal?: AbortSignal,
): Promise<string> {
  const found = findOnPath(name)
  if (found !== undefined) return found
  const remedies = [
    `install ${name} (Debian, Ubuntu: apt-get install ${debianPackage}) and put it on PATH`,
    RUNNING_KAFKA,
  ]
  if (!mayInstall())
    throw new PartMissingError('Kafka', `${name} is not on PATH, and this is not root on Debian`, remedies)
  try {
    await installPackages([debianPackage], report, signal)
  } catch (cause) {
    signal?.throwIfAborted()
    throw new PartMissingError('Kafka', `${name} is not on PATH\n${(cause as Error).message}`, remedies, { cause })
  }
  const installed = findOnPath(name)
  if (installed === undefined)
    throw new PartMissingError('Kafka', `the package ${debianPackage} brought no ${name}`, remedies)
  return installed
}

function serverProperties(
  directory: string,
  port: number,
  controllerPort: number,
  extra: Readonly<Record<string, string>>,
): string {
  const properties: Readonly<Record<string, string>> = {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'log.dirs': join(directory, 'data'),
    // Topics are made from resources; one that appears by itself would hide a wrong name.
    'auto.create.topics.enable': 'false',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '6000',
    'offsets.topic.num.partitions': '4',
    'offsets.topic.replication.factor': '1',
    'transaction.state.log.num.partitions': '4',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'share.coordinator.state.topic.num.partitions': '4',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    // The default, 128 MiB, is a quarter of this heap; there is little to clean.
    'log.cleaner.dedupe.buffer.size': '8388608',
    'num.network.threads': '2',
    'num.io.threads': '4',
    // After a kill the broker may register again only when the session of its last life is over (default 9 s).
    'broker.session.timeout.ms': '4000',
    'broker.heartbeat.interval.ms': '500',
    ...extra,
  }
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  )

/** Kafka's own release adds a binding for its log; without one the reason why a broker ended would be lost. */
const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>${VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>${BINDING_VERSION}</version>
    </dependency>
  </dependencies>
</project>
`

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
