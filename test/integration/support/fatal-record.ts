/**
 * Loaded before a worker's own modules: the process dies when it sends the request of a record that holds FATAL_MARKER to
 * the handler, as a fault of the worker's own would make it. With FATAL_ATTEMPT: from this attempt of it on.
 */
import http2 from 'node:http2'

const marker = process.env['FATAL_MARKER'] ?? ''
const firstAttempt = Number(process.env['FATAL_ATTEMPT'] ?? 1)
const connect = http2.connect
const patched = (...args: Parameters<typeof connect>): ReturnType<typeof connect> => {
  const session = connect(...args)
  const request = session.request.bind(session)
  session.request = (...given) => {
    const stream = request(...given)
    const isMeant = Number((given[0] as http2.OutgoingHttpHeaders)['grpc-kafka-attempt']) >= firstAttempt
    const end = stream.end.bind(stream) as (...rest: unknown[]) => typeof stream
    stream.end = ((...rest: unknown[]) => {
      if (isMeant && marker !== '' && Buffer.isBuffer(rest[0]) && rest[0].includes(marker))
        process.kill(process.pid, 'SIGKILL')
      return end(...rest)
    }) as typeof stream.end
    return stream
  }
  return session
}
http2.connect = patched as typeof connect
