import type { Server } from '@grpc/grpc-js'
import type { IncomingHttpHeaders } from 'node:http2'
import { http2ServersOf } from './http2-servers.ts'

const LONGEST_SECONDS = Math.floor(2 ** 31 / 1000) - 1
const SECONDS: Readonly<Record<string, number>> = { H: 3600, M: 60, S: 1 }

/**
 * grpc-js 1.14 keeps a client's timeout in 32 bits of milliseconds: one of more than 24.8 days comes out as any number, often
 * one that has passed, and the call is refused before it reaches us. Here such a timeout becomes the longest that fits. To be
 * called once the server is bound.
 */
export function shortenLongTimeouts(server: Server): void {
  for (const http2Server of http2ServersOf(server).keys()) {
    http2Server.prependListener('stream', (_stream: unknown, headers: IncomingHttpHeaders) => {
      const timeout = headers['grpc-timeout']
      if (typeof timeout === 'string') headers['grpc-timeout'] = fittingTimeout(timeout)
    })
  }
}

/** `grpc-timeout` is at most eight digits and a unit (PROTOCOL-HTTP2.md); grpc-js finds these anywhere in the value. */
const TIMEOUT = /([0-9]{1,8})\s*([HMSmun])/

/** @param timeout a value of `grpc-timeout`, well-formed or not. */
export function fittingTimeout(timeout: string): string {
  const [, digits, letter = ''] = TIMEOUT.exec(timeout) ?? []
  const unit = SECONDS[letter]
  // Eight digits of the smaller units fit.
  if (unit === undefined) return timeout
  return Number(digits) * unit > LONGEST_SECONDS ? `${LONGEST_SECONDS}S` : timeout
}
