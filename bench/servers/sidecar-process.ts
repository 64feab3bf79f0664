// One sidecar of the region: a process of `sidegate serve` that can be killed and started again on the same journal.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Client, connect } from '../../src/client/index.ts';

/** What it is made of. */
export interface SidecarPlan {
  readonly name: string;
  /** `dist/cli.js` of the build under test. */
  readonly cli: string;
  /** Its own folder: configuration, journal, secrets. */
  readonly dir: string;
  /** Deployment keys, one a file. */
  readonly keyDir: string;
  readonly keystoneUrl: string;
  readonly password: string;
  /** `host:port` of each memcached. */
  readonly servers: readonly string[];
  /** Of one request to them; absent: the default. */
  readonly sharedDeadlineMs?: number;
  readonly caching: string;
  /** Flow mapping; Fernet tokens of a scripted or real Keystone. */
  readonly calls: string;
  /** Flow mappings of the issuer: who tells of what happens there, and the keys at hand. Absent: neither. */
  readonly news?: string;
  readonly keys?: string;
  /** The shapes of its tokens; absent: Fernet. */
  readonly accepts?: string;
  /** Whether Keystone is told of revocations; absent: it is. */
  readonly tellsKeystone?: boolean;
  /** It listens on a socket in `dir` too, where everybody may revoke by selector. Absent: it does not. */
  readonly hasSocket?: true;
  /** It listens at this port of loopback for who shows a certificate, and whose name this is may follow it. Absent: it does not. */
  readonly remote?: {
    readonly port: number;
    /** With `tls.crt`, `tls.key` and `ca.crt`. */
    readonly certificates: string;
    readonly mayFollow: string;
  };
  /** It tells its metrics too. Absent: it does not. */
  readonly hasOperations?: true;
  /** Other settings, whole lines. */
  readonly settings?: string;
  /** Of a call of `client` that does not say; absent: the client's own. */
  readonly timeoutMs?: number;
  /** By how much its clock is ahead of the machine's, with Debian's faketime. */
  readonly aheadMs?: number;
}

/** The process, or the next one in its place. */
export interface SidecarProcess {
  readonly name: string;
  readonly client: Client;
  /** `host:port` of its gRPC listener. */
  readonly tcp: string;
  /** `http://host:port/v3` of its Keystone face; undefined where this build has none. */
  readonly face: string | undefined;
  /** `host:port` of its metrics; undefined where it has none. */
  readonly operations: string | undefined;
  readonly pid: number;
  readonly isServing: boolean;
  /** Resident memory now, in bytes; undefined while it is away. */
  residentBytes(): number | undefined;
  /** Processor time so far, user and system, in seconds. */
  cpuSeconds(): number;
  /** Resolves when it serves. */
  start(): Promise<void>;
  /** `SIGKILL`, or `SIGTERM` and its drain. Resolves when the process has gone. */
  end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** Lines of warn and error that it has logged, the newest 50. */
  readonly complaints: readonly string[];
}

/** Writes its configuration; nothing runs before `start`. */
export function sidecarProcess(plan: SidecarPlan): SidecarProcess {
  const { name, dir } = plan;
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'password'), plan.password);
  const file = join(dir, 'sidegate.yaml');
  writeFileSync(file, yamlOf(plan));
  const complaints: string[] = [];
  let child: ChildProcess | undefined;
  let serving: (Pick<Serving, 'tcp' | 'operations'> & { readonly client: Client; readonly face: string | undefined }) | undefined;

  const there = () => {
    if (serving === undefined) throw new Error(`${name} does not serve`);
    return serving;
  };
  return {
    name,
    complaints,
    get client() {
      return there().client;
    },
    get tcp() {
      return there().tcp;
    },
    get face() {
      return there().face;
    },
    get operations() {
      return there().operations;
    },
    get pid() {
      return child?.pid ?? 0;
    },
    get isServing() {
      return serving !== undefined;
    },
    residentBytes: () => (serving && child?.pid ? residentBytesOf(child.pid) : undefined),
    cpuSeconds: () => cpuSecondsOf(child?.pid ?? 0),
    async start() {
      const started = spawn(process.execPath, [plan.cli, 'serve', '--config', file], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...clockSetBy(plan.aheadMs ?? 0) },
      });
      child = started;
      const said: string[] = [];
      started.stderr.on('data', (part) => void said.push(String(part)));
      const lines = createInterface({ input: started.stdout });
      const addresses = await new Promise<Serving>((resolve, reject) => {
        // A sidecar that hangs at its start must not hang the run.
        setTimeout(() => reject(new Error(`${name} does not serve after ${startMs / 1000} s`)), startMs).unref();
        started.once('exit', (code) => reject(new Error(`${name} ended with ${code} before it served: ${said.join('').slice(-2000)}`)));
        lines.on('line', (line) => {
          if (/"level":"(warn|error)"/.test(line)) complaints.splice(0, Math.max(0, complaints.push(line) - 50));
          if (line.includes('"message":"serving"')) resolve(JSON.parse(line));
        });
      });
      serving = {
        client: connect({ address: addresses.tcp, ...(plan.timeoutMs !== undefined && { timeoutMs: plan.timeoutMs }) }),
        tcp: addresses.tcp,
        operations: addresses.operations,
        face: addresses.keystone === undefined ? undefined : `http://${addresses.keystone}/v3`,
      };
    },
    async end(signal) {
      const ending = child;
      serving?.client.close();
      serving = undefined;
      child = undefined;
      if (!ending || ending.exitCode !== null || ending.signalCode !== null) return;
      const ended = new Promise((resolve) => ending.once('exit', resolve));
      ending.kill(signal);
      await ended;
    },
  };
}

/** With what its news have to catch up with. */
const startMs = 90_000;

/** libfaketime without its program, which would stand between us and the process. Who sets a clock does not make time go faster. */
function clockSetBy(aheadMs: number): NodeJS.ProcessEnv {
  if (aheadMs === 0) return {};
  return { LD_PRELOAD: fakeTimeLibrary(), FAKETIME: `+${aheadMs / 1000}`, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
}

/** Of Debian's package `faketime`, where the machine's architecture has it. Throws where it is not installed. */
function fakeTimeLibrary(): string {
  const found = readdirSync('/usr/lib')
    .map((name) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`)
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error('faketime is not installed');
  return found;
}

/** Of the line that says `serving`. */
interface Serving {
  readonly tcp: string;
  readonly keystone?: string;
  readonly operations?: string | undefined;
}

function yamlOf(plan: SidecarPlan): string {
  const { remote } = plan;
  const at = (name: string): string => join(remote?.certificates ?? '', name);
  const tls = `{ cert_file: ${at('tls.crt')}, key_file: ${at('tls.key')}, client_ca_file: ${at('ca.crt')} }`;
  return `
name: ${plan.name}
deployment_key_dir: ${plan.keyDir}
listen:
  socket: ${plan.hasSocket ? `{ path: ${socketOf(plan)} }` : 'null'}
  tcp: 127.0.0.1:0
  operations: ${plan.hasOperations ? '127.0.0.1:0' : 'null'}
  keystone: { address: "127.0.0.1:0" }
  remote: ${remote ? `{ address: "127.0.0.1:${remote.port}", tls: ${tls} }` : 'null'}
callers:
  - { who: { local: true }, may: [validate, watch, status] }
${plan.hasSocket ? '  - { who: { socket: true }, may: [revoke, refresh] }' : ''}
${remote ? `  - { who: { certificate_name: ${remote.mayFollow} }, may: [fleet] }` : ''}
issuers:
  - name: central
    kind: keystone
    url: ${plan.keystoneUrl}
    login: { password: { username: validator, project: service, password_file: ${join(plan.dir, 'password')} } }
    accepts: ${plan.accepts ?? '[fernet]'}
    calls: ${plan.calls}
    max_token_life: 24h
    revoke_upstream: ${plan.tellsKeystone ?? true}
    keys: ${plan.keys ?? '{}'}
    news: ${plan.news ?? '{}'}
caching:
  shared: { servers: [${plan.servers.join(', ')}]${plan.sharedDeadlineMs === undefined ? '' : `, deadline: ${plan.sharedDeadlineMs}ms`} }
${plan.caching}
limits: { unverified_revokes: 1000 }
${plan.settings ?? ''}
journal: { dir: ${join(plan.dir, 'journal')} }
logging: { level: info }
shutdown: { drain: 500ms }
`;
}

/** Of one that has one. */
export function socketOf({ dir }: Pick<SidecarPlan, 'dir'>): string {
  return join(dir, 's.sock');
}

/** A directory of deployment keys, with one. */
export function newKeyDir(parent: string, name: string): string {
  const keyDir = join(parent, name);
  mkdirSync(keyDir);
  writeFileSync(join(keyDir, 'key-0'), randomBytes(32).toString('base64url'));
  return keyDir;
}

/** VmRSS. */
export function residentBytesOf(pid: number): number | undefined {
  try {
    const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    // It has ended between two looks.
    return undefined;
  }
}

/** User and system time of a process, in seconds; Linux counts hundredths. */
export function cpuSecondsOf(pid: number): number {
  // The name in parentheses may hold anything.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
