// Certificates for two ends of a connection, in files of a directory of their own: made now, good for an hour, known to nobody else.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { secretFile } from '../../src/config/secrets.ts';
import type { RemoteConfig } from '../../src/config/types.ts';
import { type AlternativeName, type CertificateOptions, type Certified, createAuthority } from './pki.ts';

/** A certificate and its key, in PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

const hourMs = 3_600_000;

/** Around now. */
export const lifeNow = (): Pick<CertificateOptions, 'notBeforeMs' | 'notAfterMs'> => ({
  notBeforeMs: Date.now() - hourMs,
  notAfterMs: Date.now() + hourMs,
});

/** One that vouches for others. */
export function createCa(common = 'test CA'): Certified {
  return createAuthority({ common, ...lifeNow() });
}

/** What `by` vouches for. */
export function pairOf(by: Certified, options: CertificateOptions = {}): Pair {
  const { pem, privateKey } = by.issue({ common: 'somebody', ...lifeNow(), ...options });
  return { cert: pem, key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** Of a caller with these names. */
export function callerPair(by: Certified, ...names: readonly AlternativeName[]): Pair {
  return pairOf(by, { usage: 'client', ...(names.length === 0 ? {} : { names }) });
}

/** Of a sidecar at 127.0.0.1 that is also called `sidegate.example`. */
export function serverPair(by: Certified): Pair {
  const names: readonly AlternativeName[] = [
    ['dns', 'sidegate.example'],
    ['ip', '127.0.0.1'],
  ];
  return pairOf(by, { usage: 'server', names });
}

/** Files of a listener, and of whoever calls it. */
export interface CertificateFiles {
  readonly directory: string;
  /** `listen.remote` on any free port of 127.0.0.1. */
  readonly remote: RemoteConfig;
  /** Puts a text in the place of a file, at one moment; tells its path. */
  put(name: string, text: string): string;
  /** Two files. */
  putServer(pair: Pair): void;
  remove(): void;
}

/** Files for a listener that `ca` vouches for, and that believes it. */
export function certificateFiles(ca: Certified): CertificateFiles {
  const directory = mkdtempSync(join(tmpdir(), 'sidegate-certificates-'));
  const put = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
    return path;
  };
  const putServer = ({ cert, key }: Pair): void => {
    put('tls.crt', cert);
    put('tls.key', key);
  };
  putServer(serverPair(ca));
  put('ca.crt', ca.pem);
  const file = (name: string): ReturnType<typeof secretFile> => secretFile(join(directory, name));
  return {
    directory,
    remote: {
      address: { host: '127.0.0.1', port: 0 },
      tls: { certFile: file('tls.crt'), keyFile: file('tls.key'), clientCaFile: file('ca.crt') },
    },
    put,
    putServer,
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
