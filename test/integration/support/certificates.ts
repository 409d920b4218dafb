/** Authorities and certificates for tests, made with openssl, each in files of its own (PEM). */
import { join } from 'node:path'
import { runTool } from '../../../local/platform/tool.ts'

export interface KeyPair {
  readonly certFile: string
  readonly keyFile: string
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '7']

/** An authority that trusts nobody above it. `certFile` is what those who trust it are given. */
export async function makeAuthority(directory: string, name: string): Promise<KeyPair> {
  const pair = filesOf(directory, name)
  await runTool('openssl', ['req', '-x509', ...KEY, '-subj', `/CN=${name}`, ...toFiles(pair)])
  return pair
}

/** A certificate for this machine, 127.0.0.1 and localhost, that may serve and call. */
export async function makeCertificate(directory: string, name: string, authority: KeyPair): Promise<KeyPair> {
  const pair = filesOf(directory, name)
  await runTool(
    'openssl',
    [
      ['req', '-x509', ...KEY, '-subj', `/CN=${name}`, ...toFiles(pair)],
      ['-CA', authority.certFile, '-CAkey', authority.keyFile],
      ['-addext', 'basicConstraints=critical,CA:FALSE'],
      ['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
      ['-addext', 'extendedKeyUsage=serverAuth,clientAuth'],
    ].flat(),
  )
  return pair
}

const filesOf = (directory: string, name: string): KeyPair => ({
  certFile: join(directory, `${name}.crt`),
  keyFile: join(directory, `${name}.key`),
})

const toFiles = ({ certFile, keyFile }: KeyPair): string[] => ['-keyout', keyFile, '-out', certFile]
