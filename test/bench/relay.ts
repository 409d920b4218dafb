/** The relay: a few lines of plain grpc-js that pass raw bytes on. What a gateway costs without Kafka. */
import { Client, Server, ServerCredentials, credentials } from '@grpc/grpc-js'
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js'
import { METHOD_NAME, SERVICE, pathOf } from './echo.ts'
import { serve } from './program.ts'

const raw = (bytes: Buffer): Buffer => bytes

/** Replies with the port. */
serve(({ handlerPort }: { readonly kind: 'Listen'; readonly handlerPort: number }) => {
  const handler = new Client(`127.0.0.1:${handlerPort}`, credentials.createInsecure())
  const server = new Server()
  server.addService(SERVICE, {
    [METHOD_NAME]: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) =>
      handler.makeUnaryRequest(
        pathOf(METHOD_NAME),
        raw,
        raw,
        call.request,
        call.metadata,
        { deadline: call.getDeadline() },
        done,
      ),
  })
  return new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port)
      else reject(error)
    })
  })
})
