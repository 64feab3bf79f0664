// A sidecar to be killed: loads its code, says so, and starts when it is told to. `node kill-nine-child.js DIR`.

import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { defaultConfig } from '../src/config/load.ts';
import { createSidecar } from '../src/sidecar.ts';

const [dir = ''] = process.argv.slice(2);
// Straight to the pipe: a line in a buffer of ours would die with us.
const say = (line: string): unknown => writeSync(1, `${line}\n`);
const keys = join(dir, 'keys.json');
const defaults = defaultConfig();

const sidecar = createSidecar({
  config: {
    ...defaults,
    name: 'killed',
    listen: {
      socket: { path: join(dir, 'sidegate.sock'), mode: 0o600, group: undefined },
      tcp: undefined,
      operations: undefined,
      keystone: undefined,
      introspection: undefined,
      remote: undefined,
    },
    callers: [{ who: { kind: 'socket' }, may: ['validate', 'watch', 'status', 'revoke', 'refresh', 'details'] }],
    issuers: [
      {
        kind: 'jwt',
        revocation: undefined,
        serviceRoles: [],
        revokeUpstream: false,
        name: 'main',
        issuer: 'https://issuer.test',
        keys: { kind: 'file', file: { path: keys, read: async () => readFileSync(keys, 'utf8') } },
        algorithms: ['ES256'],
        types: ['at+jwt'],
        audiences: [],
        tls: { caFile: undefined, serverName: undefined },
        skewMs: 0,
        maxTokenLifeMs: 86_400_000,
        calls: { deadlineMs: 1000 },
        expiredWithinMs: 0,
      },
    ],
    journal: { dir: join(dir, 'journal') },
    // Watchers that come back have to be served by the journal too, not by the ring alone.
    watch: { ...defaults.watch, ring: 64 },
    limits: { ...defaults.limits, unverifiedRevokes: 100_000 },
  },
  destination: { write: (line: string) => (line.includes('"level":"error"') ? say(`error ${line.trim()}`) : undefined) },
});

say('ready');
process.stdin.once('data', () => {
  sidecar.start(new AbortController().signal).then(
    () => say('serving'),
    (error: unknown) => say(`failed ${String(error)}`),
  );
});
// Whoever started us has gone: nobody would kill us any more.
process.stdin.once('end', () => process.exit(1));
