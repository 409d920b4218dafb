/** A bare grpc-js server: the floor's server, and the handler behind the relay and behind the worker. */
import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js'
import { CACHED_METHOD_NAME, METHOD_NAME, SERVICE, replyTo } from './echo.ts'
import { serve } from './program.ts'

const answer = (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>): void =>
  done(null, replyTo(call.request))

const server = new Server()
server.addService(SERVICE, { [METHOD_NAME]: answer, [CACHED_METHOD_NAME]: answer })

/** Replies with the port. */
serve(
  (_request: { readonly kind: 'Listen' }) =>
    new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
        if (error === null) resolve(port)
        else reject(error)
      })
    }),
)
