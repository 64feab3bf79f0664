// A real sidecar in front of the lab's Keystone: from YAML text to a client on its socket, with a journal on disk.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Answer, type Client, connect, type InactiveReason, NoAnswerError, type ValidateOptions } from '../../src/client/index.ts';
import { formatProblems, loadConfig } from '../../src/config/load.ts';
import { createSidecar, systemClock } from '../../src/sidecar.ts';
import type { Lab } from './lab.ts';

/** The default password login is the lab's validator. All else is YAML, as an operator writes it. */
export interface SidecarOptions {
  /** Flow mapping for `login`; `SECRET_FILE` in it is the file that holds `secret`. */
  readonly login?: string;
  readonly secret?: string;
  /** Flow mapping for `calls`. A validation takes some 110 ms on two processes, so by default everything may wait a minute. */
  readonly calls?: string;
  /** Flow mapping for `news`. */
  readonly news?: string;
  /** Flow mapping for `caching`. */
  readonly caching?: string;
  /** As `deployment_key_dir`: sidecars that share a tier share it. Absent: a key of its own. */
  readonly deploymentKeyDir?: string;
  /** Keystone's own API and RFC 7662, on ports of their own. Absent: neither. */
  readonly faces?: true;
  /** Flow mapping for `keys`: Keystone's, at hand. */
  readonly keys?: string;
  /** As `transport_url`: `TRANSPORT_URL_FILE` in `news` is a file that holds it. */
  readonly transportUrl?: string;
  /** Other settings, whole lines. */
  readonly settings?: string;
  /** Of this sidecar, in its queue's name too. */
  readonly name?: string;
}

/** A running sidecar. */
export interface LabSidecar {
  /** On its socket, which may do everything. Another after `restart`. */
  readonly client: Client;
  /** On loopback TCP: nobody in particular. */
  readonly stranger: Client;
  /** Of the Keystone face, http://127.0.0.1:PORT/v3, as the URL of Keystone. Another after `restart`; '' without faces. */
  readonly keystoneUrl: string;
  /** Of the RFC 7662 face; '' without faces. */
  readonly introspectionUrl: string;
  /** Moves its monotonic clock on, and with it all ages, cooldowns and windows; the time of day stays Keystone's. */
  elapse(ms: number): void;
  /** Puts another secret where the login reads it. */
  replaceSecret(secret: string): Promise<void>;
  /** Stops it and starts another on the same journal; in between, what `meanwhile` does. */
  restart(meanwhile?: () => Promise<void>): Promise<void>;
  /** All that it has logged. */
  logged(): string;
  close(): Promise<void>;
}

const patient = '{ deadline: 60s, concurrency: 16, queue: 4096, attempts: 2 }';

/** Starts a sidecar of its own, which asks Keystone through the lab's proxy. Takes some 100 ms: nothing is asked before the first token. */
export async function startSidecar(lab: Lab, options: SidecarOptions = {}): Promise<LabSidecar> {
  const { validator } = lab.seed.users;
  const directory = await mkdtemp(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-e2e-'));
  const secretFile = join(directory, 'secret');
  await writeFile(secretFile, `${options.secret ?? validator.password}\n`);
  const login = options.login ?? `{ password: { username: ${validator.name}, project: service, password_file: SECRET_FILE } }`;
  const transportUrlFile = join(directory, 'transport-url');
  if (options.transportUrl !== undefined) await writeFile(transportUrlFile, `${options.transportUrl}\n`);
  const text = `
name: ${options.name ?? 'end-to-end'}
listen:
  socket: { path: ${directory}/sidegate.sock, mode: "0600" }
  tcp: 127.0.0.1:0
  operations: null
  keystone: ${options.faces ? '{ address: 127.0.0.1:0, allow_expired: true }' : 'null'}
  introspection: ${options.faces ? '127.0.0.1:0' : 'null'}
deployment_key_dir: ${options.deploymentKeyDir ?? 'null'}
callers:
  - who: { local: true }
    may: [validate, watch, status]
  - who: { socket: true }
    may: [revoke, refresh, find, details]
issuers:
  - name: central
    kind: keystone
    url: ${lab.proxy.url}
    login: ${login.replace('SECRET_FILE', secretFile)}
    calls: ${options.calls ?? patient}
    max_token_life: 24h
    keys: ${options.keys ?? '{}'}
    news: ${(options.news ?? '{ bus: null, poll: null }').replace('TRANSPORT_URL_FILE', transportUrlFile)}
caching: ${options.caching ?? '{}'}
${options.settings ?? ''}
journal: { dir: ${directory}/journal }
logging: { level: debug }
shutdown: { drain: 500ms }
`;
  const loaded = loadConfig({ text, env: {} });
  if (!loaded.ok) throw new Error(formatProblems(loaded.problems, 'sidegate.yaml'));
  let elapsedMs = 0;
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + elapsedMs };
  const lines: string[] = [];

  const start = async () => {
    const stopping = new AbortController();
    const sidecar = createSidecar({ config: loaded.config, clock, destination: { write: (line) => lines.push(line) } });
    const { socket, tcp, keystone, introspection, stopped } = await sidecar.start(stopping.signal);
    if (socket === undefined || tcp === undefined) throw new Error('the sidecar does not listen as configured');
    const [client, stranger] = [socket, tcp].map((address) => connect({ address, timeoutMs: 90_000 })) as [Client, Client];
    const stop = async () => {
      client.close();
      stranger.close();
      stopping.abort();
      await stopped;
    };
    const keystoneUrl = keystone === undefined ? '' : `http://${keystone}/v3`;
    const introspectionUrl = introspection === undefined ? '' : `http://${introspection}/introspect`;
    return { client, stranger, keystoneUrl, introspectionUrl, stop };
  };
  let running = await start();

  return {
    get client() {
      return running.client;
    },
    get stranger() {
      return running.stranger;
    },
    get keystoneUrl() {
      return running.keystoneUrl;
    },
    get introspectionUrl() {
      return running.introspectionUrl;
    },
    elapse(ms) {
      elapsedMs += ms;
    },
    replaceSecret: (secret) => writeFile(secretFile, `${secret}\n`),
    async restart(meanwhile) {
      await running.stop();
      await meanwhile?.();
      running = await start();
    },
    logged: () => lines.join(''),
    async close() {
      await running.stop();
      await rm(directory, { recursive: true });
    },
  };
}

/** An answer in one word: `active`, or the reason against it. */
export async function verdict(
  client: Client,
  token: string,
  options: ValidateOptions = {},
): Promise<'active' | InactiveReason | 'UNKNOWN'> {
  return wordOf(await client.validate(token, options));
}

/** `active`, or the reason against it. */
export function wordOf(answer: Answer): 'active' | InactiveReason | 'UNKNOWN' {
  return answer.active ? 'active' : answer.reason;
}

/** What `asking` is not answered with: the error that says so. Fails where there is an answer, whichever. */
export async function noAnswer(asking: Promise<Answer>): Promise<NoAnswerError> {
  const error = await asking.then(
    (answer) => expect.unreachable(`it answered ${wordOf(answer)}`),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(NoAnswerError);
  return error as NoAnswerError;
}

/** Nobody issued it, but it has the shape of the Fernet token `token`. `n` makes another each. */
export function forged(token: string, n: number): string {
  const bytes = Buffer.from(token, 'base64url');
  // In the signature, the last 32 bytes: Keystone finds it wrong and tells nothing more.
  bytes.writeUInt32BE((bytes.readUInt32BE(bytes.length - 8) ^ (n + 1)) >>> 0, bytes.length - 8);
  return bytes.toString('base64url');
}

/** All 16 spellings of a Fernet token: with and without padding, in both alphabets, with each value of the bits that padding leaves over. */
export function spellingsOf(token: string): readonly string[] {
  const bare = Buffer.from(token, 'base64url').toString('base64url');
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(bare.at(-1) ?? '');
  const spare = [1, 1, 16, 4][bare.length % 4] ?? 1;
  const padding = '='.repeat((4 - (bare.length % 4)) % 4);
  const tails = Array.from({ length: spare }, (_, bits) => bare.slice(0, -1) + alphabet[last + bits]);
  const standard = (text: string) => text.replaceAll('-', '+').replaceAll('_', '/');
  return [...new Set(tails.flatMap((text) => [text, standard(text)]).flatMap((text) => [text, text + padding]))];
}
