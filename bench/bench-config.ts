// The configuration of sidecars under measurement: the defaults, and one issuer of signed tokens.

import { defaultConfig } from '../src/config/load.js';
import type { Secret } from '../src/config/secrets.js';
import type { Config } from '../src/config/types.js';

/** Listens nowhere. */
export const closed = {
  socket: undefined,
  tcp: undefined,
  remote: undefined,
  operations: undefined,
  keystone: undefined,
  introspection: undefined,
} as const;

/** `keys`: a file with the issuer's key set. */
export function benchConfig(keys: Secret): Config {
  return {
    ...defaultConfig(),
    listen: { ...closed, tcp: { host: '127.0.0.1', port: 0 } },
    logging: { level: 'error', format: 'json' },
    callers: [
      { who: { kind: 'local' }, may: ['validate', 'watch', 'status'] },
      { who: { kind: 'socket' }, may: ['revoke', 'refresh', 'details'] },
    ],
    journal: { dir: undefined },
    issuers: [
      {
        kind: 'jwt',
        revocation: undefined,
        serviceRoles: [],
        revokeUpstream: false,
        name: 'bench',
        issuer: 'https://bench.test',
        tls: { caFile: undefined, serverName: undefined },
        keys: { kind: 'file', file: keys },
        algorithms: ['ES256'],
        types: ['at+jwt'],
        audiences: [],
        skewMs: 0,
        maxTokenLifeMs: 3_600_000,
        expiredWithinMs: 0,
        calls: { deadlineMs: 5000 },
      },
    ],
  };
}
