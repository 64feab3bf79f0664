// What tests of a follower begin with: a sidecar as its users run it, with a log of its own, and certificates of both sides.

import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { secretFile } from '../../src/config/secrets.ts';
import type { FollowOptions } from '../../src/fleet/follow.ts';
import { start as startProgram } from '../cli/program.ts';
import { callerPair, certificateFiles, createCa } from '../fakes/certificates.ts';

/** Who may follow, by the name in its certificate. */
export const follower = 'edge.example.org';

/** A sidecar whose log others follow, as a process. */
export interface Upstream {
  readonly port: number;
  /** For whoever follows it at `port`, its own or another one. */
  options(port: number, as?: 'follower' | 'stranger'): FollowOptions;
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Stops it, and lets it go on: meanwhile its connections stand, and nothing is answered. */
  freeze(): void;
  thaw(): void;
  /** Forgets its log; only while it is not running. */
  removeLog(): void;
  close(): Promise<void>;
}

/** Starts one. */
export async function startUpstream(): Promise<Upstream> {
  const ca = createCa();
  const files = certificateFiles(ca);
  const { put, directory } = files;
  for (const [name, caller] of [
    ['follower', follower],
    ['stranger', 'stranger.example.org'],
  ] as const) {
    const pair = callerPair(ca, ['dns', caller]);
    put(`${name}.crt`, pair.cert);
    put(`${name}.key`, pair.key);
  }
  put('secret', 'correct-horse');
  mkdirSync(join(directory, 'keys'));
  writeFileSync(join(directory, 'keys', 'one'), randomBytes(32));
  const path = join(directory, 'sidegate.yaml');
  const write = (port: number): void =>
    writeFileSync(
      path,
      `name: upstream
deployment_key_dir: keys
listen:
  socket: null
  tcp: null
  operations: null
  remote: { address: "127.0.0.1:${port}", tls: { cert_file: tls.crt, key_file: tls.key, client_ca_file: ca.crt } }
callers:
  - { who: { certificate_name: ${follower} }, may: [fleet] }
  - { who: { certificate_name: stranger.example.org }, may: [validate, watch, status, revoke, refresh, find, details] }
issuers:
  - name: partner
    kind: introspection
    url: http://127.0.0.1:1/introspect
    auth: { client_secret_basic: { client_id: sidegate, secret_file: secret } }
    max_token_life: 1h
journal: { dir: journal }
fleet: { engine: local }
`,
    );
  write(0);
  let program = startProgram(['serve', '--config', path]);
  const served = JSON.parse(await program.line(/"message":"serving"/)) as { remote: string };
  const port = Number(served.remote.split(':').at(-1));
  write(port);
  const kill = async (): Promise<void> => {
    program.child.kill('SIGKILL');
    await program.ended;
  };
  const file = (name: string): ReturnType<typeof secretFile> => secretFile(join(directory, name));
  return {
    port,
    options: (at, as = 'follower') => ({
      address: { host: '127.0.0.1', port: at },
      tls: { caFile: file('ca.crt'), certFile: file(`${as}.crt`), keyFile: file(`${as}.key`), serverName: undefined },
    }),
    kill,
    async start() {
      program = startProgram(['serve', '--config', path]);
      await program.line(/"message":"serving"/);
    },
    freeze: () => void program.child.kill('SIGSTOP'),
    thaw: () => void program.child.kill('SIGCONT'),
    removeLog: () => rmSync(join(directory, 'journal', 'fleet-log'), { recursive: true }),
    async close() {
      program.child.kill('SIGCONT');
      await kill();
      files.remove();
    },
  };
}
