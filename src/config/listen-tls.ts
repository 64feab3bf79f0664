// What `listen.remote` shows its callers, and whom it believes: PEM that fits together, now and whenever it has changed.

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { SidecarError } from '../core/errors.ts';
import type { Finding } from './rules.ts';
import { readSecretNow } from './secrets.ts';
import type { ListenTlsConfig } from './types.ts';

/** PEM. */
export interface ListenPem {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string;
}

interface Fault {
  readonly setting: 'cert_file' | 'key_file' | 'client_ca_file';
  readonly message: string;
}

/** What is wrong with the files now; of those that cannot be read that has been said already. */
export function listenTlsRules({ certFile, keyFile, clientCaFile }: ListenTlsConfig): readonly Finding[] {
  const text = (path: string): string | undefined => {
    const read = readSecretNow(path);
    return 'text' in read ? read.text : undefined;
  };
  const faults = faultsOf({ cert: text(certFile.path), key: text(keyFile.path), clientCa: text(clientCaFile.path) });
  return faults.map(({ setting, message }) => ({ path: ['listen', 'remote', 'tls', setting], message }));
}

/** As it is now. Throws UNAVAILABLE / SECRET_UNREADABLE, and FAILED_PRECONDITION / LISTEN_TLS where it does not fit together. */
export async function readListenPem({ certFile, keyFile, clientCaFile }: ListenTlsConfig): Promise<ListenPem> {
  const [cert, key, clientCa] = await Promise.all([certFile.read(), keyFile.read(), clientCaFile.read()]);
  const [fault] = faultsOf({ cert, key, clientCa });
  if (fault) {
    throw new SidecarError('FAILED_PRECONDITION', `listen.remote.tls.${fault.setting} ${fault.message}`, { reason: 'LISTEN_TLS' });
  }
  return { cert, key, clientCa };
}

/** Undefined is not judged. */
function faultsOf({ cert, key, clientCa }: { readonly [name in keyof ListenPem]: string | undefined }): readonly Fault[] {
  const found: Fault[] = [];
  const ours = cert === undefined ? undefined : certificatesIn(cert);
  if (ours?.length === 0) found.push({ setting: 'cert_file', message: 'must hold a certificate in PEM, and nothing that looks like one' });
  if (clientCa !== undefined && certificatesIn(clientCa).length === 0) {
    found.push({ setting: 'client_ca_file', message: 'must hold at least one certificate in PEM, and nothing that looks like one' });
  }
  const privateKey = key === undefined ? undefined : privateKeyIn(key);
  const [first] = ours ?? [];
  if (key !== undefined && !privateKey)
    found.push({ setting: 'key_file', message: 'must hold a private key in PEM, without a passphrase' });
  else if (first && privateKey && !first.checkPrivateKey(privateKey)) {
    found.push({ setting: 'key_file', message: 'must hold the key of the first certificate in cert_file' });
  }
  return found;
}

const pemCertificate = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** None, where one of them cannot be read. */
function certificatesIn(pem: string): readonly X509Certificate[] {
  try {
    return (pem.match(pemCertificate) ?? []).map((one) => new X509Certificate(one));
  } catch (error) {
    // Whatever OpenSSL has against it, it may hold what was meant to be secret.
    void error;
    return [];
  }
}

function privateKeyIn(pem: string): ReturnType<typeof createPrivateKey> | undefined {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    void error;
    return undefined;
  }
}
