/** Kafka 4.1.0 itself: Java and the jars, found or fetched. */
import { mkdir, readdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findOnPath } from '../bootstrap/which.mjs'
import type { Report } from '../report.ts'
import { cached } from './cache.ts'
import { installPackages, mayInstall } from './debian.ts'
import { loneBroker } from './kafka-broker.ts'
import { RUNNING_KAFKA, SHORT_LIVED, START_MILLISECONDS, startKafkaProcess } from './kafka-process.ts'
import type { KafkaProgram } from './kafka-process.ts'
import { PartFailedError } from './part-failed.ts'
import { PartMissingError } from './part-missing.ts'
import { runTool } from './tool.ts'

const VERSION = '4.1.0'
const BINDING_VERSION = '2.24.3'
const COPY_PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'

/** The heap is small and its garbage short-lived; the collector for one core costs the least. */
const JVM = ['-Xms256m', '-Xmx512m', '-XX:+UseSerialGC', '-XX:-UsePerfData', '-Djava.awt.headless=true']

/** @throws PartMissingError */
export async function ensureKafka(report: Report, signal?: AbortSignal): Promise<KafkaProgram> {
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
async function ensureClassArchive(
  program: KafkaProgram,
  report: Report,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { mtimeMs, size } = await stat(await realpath(program.java))
  const fill = async (directory: string): Promise<void> => {
    report(`setup: Kafka ${VERSION}: archiving its classes for faster starts`)
    const trial = join(directory, 'trial')
    const broker = await loneBroker()
    const server = await startKafkaProcess(
      {
        program,
        directory: trial,
        ...broker,
        javaOptions: [...SHORT_LIVED, `-XX:ArchiveClassesAtExit=${join(directory, 'classes.jsa')}`],
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
