// The configuration of an issuer that is a Keystone, at an address of a test.

import { secretFile } from '../../src/config/secrets.ts';
import type { KeystoneIssuer } from '../../src/config/types.ts';

/** `central` at `url` (without `/v3`), which the sidecar logs in to with the password in that file; other parts as said. */
export function keystoneIssuer(url: string, passwordFile: string, part: Partial<KeystoneIssuer> = {}): KeystoneIssuer {
  return {
    kind: 'keystone',
    name: 'central',
    url: `${url}/v3`,
    tls: { caFile: undefined, serverName: undefined },
    skewMs: 0,
    maxTokenLifeMs: 86_400_000,
    serviceRoles: ['service'],
    revokeUpstream: false,
    login: {
      kind: 'password',
      username: 'sidegate',
      userDomain: 'Default',
      project: 'service',
      projectDomain: 'Default',
      password: secretFile(passwordFile),
    },
    accepts: ['fernet', 'keystone-jws', 'uuid', 'pki'],
    prefix: undefined,
    calls: { deadlineMs: 1_000, concurrency: 16, queue: 64, attempts: 1 },
    expiredWithinMs: 0,
    endless: false,
    keys: { fernetDir: undefined, jwsDir: undefined, pki: undefined },
    news: { bus: undefined, poll: undefined },
    ...part,
  };
}
