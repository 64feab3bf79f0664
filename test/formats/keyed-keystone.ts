// A Keystone over HTTP whose keys are at hand, its upstream and its format, for the tests of this room.

import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { KeystoneKeys } from '../../src/config/types.ts';
import { createKeystoneFormat } from '../../src/formats/keystone.ts';
import type { DependencyHealth, Glance, Reading, ReadOptions, TokenFormat } from '../../src/ports.ts';
import { createKeystone } from '../../src/upstreams/keystone.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createHttpAuthority, type ScriptedAnswer } from '../fakes/http-authority.ts';
import {
  fernetToken,
  jwsClaims,
  type KeyFolder,
  keyFolder,
  type MadeToken,
  type NodeKey,
  newAuditId,
  newFernetKey,
  newNodeKey,
  signJws,
} from '../fakes/keystone-keys.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

/** Which keys are mounted, and what kind of tokens Keystone gives. */
export interface KeyedOptions {
  readonly keys?: readonly ('fernet' | 'jws')[];
  readonly provider?: 'fernet' | 'jws' | 'uuid';
  /** What time it is at Keystone; absent: the stage's own clock. */
  readonly nowMs?: () => number;
}

export type KeyedKeystone = Awaited<ReturnType<typeof createKeyedKeystone>>;

/** Never aborts. */
export const always: AbortSignal = new AbortController().signal;
setMaxListeners(0, always);

const uuid = (): string => randomBytes(16).toString('hex');
const isoOf = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;

/** Starts one: nobody has logged in, and it knows no token. Its keys are on a disk of its own, and mounted as they are. */
export async function createKeyedKeystone({ keys = ['fernet', 'jws'], provider = 'fernet', nowMs: timeOfDay }: KeyedOptions = {}) {
  const authority = await createHttpAuthority();
  const clock = createFakeClock();
  const nowMs = timeOfDay ?? clock.nowMs;
  const telemetry = createFakeTelemetry();
  const folders = { fernet: keyFolder(), jws: keyFolder() };
  const node = newNodeKey();
  const fernetKeys = new Map([
    ['0', newFernetKey()],
    ['1', newFernetKey()],
  ]);
  for (const [name, key] of fernetKeys) folders.fernet.put(name, key);
  folders.jws.put('public.pem', node.pem);
  const bodies = new Map<string, object>();
  const asked: string[] = [];
  let logins = 0;
  let onLogin: (() => ScriptedAnswer) | undefined;
  let answers: ((token: string) => ScriptedAnswer | undefined) | undefined;

  /** The key that Keystone makes tokens with. */
  const primary = (): string => fernetKeys.get(String(Math.max(...[...fernetKeys.keys()].map(Number)))) ?? '';
  const make = (
    said: MadeToken,
    how: { readonly key?: string; readonly node?: NodeKey; readonly provider?: KeyedOptions['provider'] },
  ): string => {
    const kind = how.provider ?? provider;
    if (kind === 'uuid') return uuid();
    return kind === 'jws' ? signJws(how.node ?? node, jwsClaims(said)) : fernetToken(how.key ?? primary(), said);
  };

  /** A token of an hour from now on, of alice on a project; Keystone knows it unless it is said to be a stranger's. */
  function issue(
    part: Partial<MadeToken> & Parameters<typeof make>[1] & { readonly stranger?: true; readonly unscoped?: true } = {},
  ): string {
    const { key, node: by, provider: kind, stranger, unscoped, ...said } = part;
    const issuedAtMs = said.issuedAtMs ?? Math.floor(nowMs() / 1000) * 1000;
    const whole = { userId: uuid(), ...(unscoped ? {} : { projectId: uuid() }), auditIds: [newAuditId()], ...said, issuedAtMs };
    const told = { ...whole, expiresAtMs: said.expiresAtMs ?? issuedAtMs + 3_600_000 };
    const raw = make(told, { ...(key && { key }), ...(by && { node: by }), ...(kind && { provider: kind }) });
    if (!stranger) bodies.set(raw, bodyOf(told));
    return raw;
  }

  function bodyOf({ issuedAtMs, expiresAtMs, auditIds, userId, projectId }: MadeToken): object {
    const domain = { id: 'default', name: 'Default' };
    const scope =
      projectId === undefined ? {} : { project: { id: projectId, name: 'shop', domain }, roles: [{ id: uuid(), name: 'member' }] };
    const user = { id: userId, name: 'alice', domain };
    return {
      token: { methods: ['password'], user, audit_ids: auditIds, issued_at: isoOf(issuedAtMs), expires_at: isoOf(expiresAtMs), ...scope },
    };
  }

  authority.script((request) => {
    if (request.method === 'POST') {
      logins += 1;
      if (onLogin) return onLogin();
      const raw = issue({ userId: 'f'.repeat(32) });
      return { status: 201, headers: { 'x-subject-token': raw }, body: bodies.get(raw) ?? {} };
    }
    const token = request.headers['x-subject-token'] ?? '';
    asked.push(token);
    const scripted = answers?.(token);
    if (scripted) return scripted;
    const body = bodies.get(token);
    return body
      ? { status: 200, headers: { 'x-subject-token': token }, body }
      : { status: 404, body: { error: { code: 404, message: 'Could not find token', title: 'Not Found' } } };
  });

  const upstream = createKeystone(
    {
      name: 'central',
      url: `${authority.url}/v3`,
      login: { kind: 'password', user: { name: 'sidegate', domain: { name: 'Default' } }, password: async () => 'secret' },
      deadlineMs: 5_000,
      attempts: 1,
      maxBodyBytes: 65_536,
    },
    { clock, log: telemetry.log, random: () => 0.5 },
  );
  const dirOf = (name: 'fernet' | 'jws'): string | undefined => (keys.includes(name) ? folders[name].dir : undefined);
  const mounted: KeystoneKeys = { fernetDir: dirOf('fernet'), jwsDir: dirOf('jws'), pki: undefined };
  const format: TokenFormat = createKeystoneFormat(
    { name: 'central', ...mounted, leewayMs: 0, skewMs: 2_000 },
    { upstream, own: upstream.own, clock, log: telemetry.log },
  );
  const stopping = new AbortController();
  // Its clock is quicker than the deadlines of its questions, which are let go of when they are over.
  setMaxListeners(0, stopping.signal);
  const left: string[] = [];
  let running: Promise<void> | undefined;

  return {
    authority,
    clock,
    telemetry,
    format,
    upstream,
    node,
    /** As a configuration says where they are. */
    mounted,
    folders: folders as { readonly fernet: KeyFolder; readonly jws: KeyFolder },
    issue,
    primary,
    /** Tokens that Keystone was asked about, oldest first; and how often somebody logged in. */
    asked,
    logins: () => logins,
    left,
    /** As keystone-manage: the staged key makes tokens from now on. `mounted` false: the copy here does not follow. */
    rotate({ mounted = true }: { readonly mounted?: boolean } = {}): void {
      const greatest = String(Math.max(...[...fernetKeys.keys()].map(Number)) + 1);
      fernetKeys.set(greatest, fernetKeys.get('0') ?? '');
      fernetKeys.set('0', newFernetKey());
      if (mounted) this.mount();
    },
    /** The keys as they are at Keystone. */
    mount(): void {
      for (const [name, key] of fernetKeys) folders.fernet.put(name, key);
    },
    answerLogins(script: typeof onLogin): void {
      onLogin = script;
    },
    answer(script: typeof answers): void {
      answers = script;
    },
    glance: async (raw: string, options?: Pick<ReadOptions, 'allowExpired'>): Promise<Glance | undefined> => format.glance?.(raw, options),
    read: (raw: string, options?: ReadOptions): Promise<Reading> => format.read(raw, always, options),
    keySet: (name: string) => format.keySets?.().find((one) => one.name === name)?.health,
    /** As the sidecar runs it. Resolves when it has a token of its own, and has looked at its keys. */
    async run(): Promise<void> {
      running = format.run?.(stopping.signal, async (keyId) => void left.push(keyId));
      const isUnread = ({ health }: { readonly health: DependencyHealth }): boolean => health.problem?.includes('not been read') === true;
      await until(() => upstream.own.held() !== undefined && format.keySets?.().some(isUnread) === false);
      await clock.advance(1_000);
    },
    /** Lets seconds pass, as many as it takes: what a disk does takes time of its own. */
    async secondsUntil(holds: () => boolean): Promise<void> {
      for (let second = 0; second < 1_000 && !holds(); second += 1) {
        await clock.advance(1_000);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      if (!holds()) throw new Error('it has not come to that');
    },
    async close(): Promise<void> {
      stopping.abort();
      await running;
      await upstream.close();
      await authority.close();
      for (const folder of Object.values(folders)) folder.remove();
    },
  };
}

/** Every spelling of a Fernet token: with padding and without, in both alphabets, with each value of the bits that nobody reads. */
export function spellingsOf(raw: string): readonly string[] {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const spare = raw.length % 4 === 2 ? 16 : raw.length % 4 === 3 ? 4 : 1;
  const last = alphabet.indexOf(raw.at(-1) ?? '');
  const tails = Array.from({ length: spare }, (_, bits) => raw.slice(0, -1) + alphabet[last - (last % spare) + bits]);
  const standard = tails.map((one) => one.replaceAll('-', '+').replaceAll('_', '/'));
  return [...new Set([...tails, ...standard].flatMap((one) => [one, one + '='.repeat((4 - (one.length % 4)) % 4)]))];
}

/** Waits for what a disk or a server does. */
export async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000 && !holds(); turn += 1) await new Promise((resolve) => setTimeout(resolve, 2));
  if (!holds()) throw new Error('it has not come to that');
}
