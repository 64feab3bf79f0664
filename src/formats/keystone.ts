// Keystone's tokens, whichever kind they are: what keys at hand tell of them first, and everything else from Keystone.

import { SidecarError } from '../core/errors.ts';
import { shapeOf } from '../core/raw.ts';
import type { Clock, DependencyHealth, Glance, Logger, Reading, ReadOptions, TokenFormat, Upstream } from '../ports.ts';
import { type HeldToken, KeyReader } from './key-reader.ts';
import { fernetTokens } from './keystone-fernet.ts';
import { jwsTokens } from './keystone-jws.ts';

/** Which Keystone, and the keys of it that are at hand. */
export interface KeystoneFormatOptions {
  /** Name of the issuer in the configuration. */
  readonly name: string;
  /** Directories; undefined: tokens of that kind are not opened here. */
  readonly fernetDir: string | undefined;
  readonly jwsDir: string | undefined;
  /** What is allowed beyond a token's end. */
  readonly leewayMs: number;
  /** How far Keystone's clock may be ahead of ours. */
  readonly skewMs: number;
}

/** What the sidecar itself has of that Keystone: what its keys are held against. */
export interface OwnToken {
  /** The token as it is now, without asking anybody; undefined: there is none. */
  readonly held: HeldToken;
  /** Sees to it that there is one. Rejects where it cannot be had. */
  readonly wanted: (signal: AbortSignal) => Promise<unknown>;
}

/** What the format needs of the world. */
export interface KeystoneFormatDeps {
  readonly upstream: Upstream;
  readonly own: OwnToken;
  readonly clock: Clock;
  readonly log: Logger;
  /** Reads PKI and PKIZ tokens, which carry all of their facts; absent: Keystone is asked about them. */
  readonly pki?: Pick<TokenFormat, 'read' | 'glance' | 'health' | 'run'> | undefined;
}

/**
 * The tokens of one Keystone. Its facts' `format` is the kind: `fernet`, `keystone-jws`, `uuid`, `pki`, or `opaque` of every other shape,
 * whether or not keys of that kind are at hand.
 *
 * With keys: MALFORMED, BAD_SIGNATURE and EXPIRED are answered here, and what is good so far is asked about; as long as it is not shown
 * that the keys are Keystone's own, what they do not open is asked about too (KeyProof).
 * Throws as `upstream.ask`, and BAD_ANSWER where Keystone has told of another token than was asked about.
 */
export function createKeystoneFormat(options: KeystoneFormatOptions, deps: KeystoneFormatDeps): TokenFormat {
  const { name, fernetDir, jwsDir, ...times } = options;
  const { upstream, own, clock, log, pki } = deps;
  const common = { issuer: name, ...times };
  const world = { clock, log, held: own.held };
  const readers: readonly KeyReader[] = [
    ...(fernetDir === undefined ? [] : [new KeyReader({ ...common, dir: fernetDir, tokens: fernetTokens }, world)]),
    ...(jwsDir === undefined ? [] : [new KeyReader({ ...common, dir: jwsDir, tokens: jwsTokens }, world)]),
  ];

  async function readWith(reader: KeyReader, raw: string, signal: AbortSignal, wanted: ReadOptions): Promise<Reading> {
    const look = await reader.look(raw);
    if (look.kind === 'inactive') return look;
    // Of one that no key opens Keystone has the last word: who comes here without a glance before knows the token as one that was good,
    // or wants to know what it is.
    const dead = look.kind === 'opened' ? reader.judge(look.part, wanted.allowExpired === true) : undefined;
    if (dead) return dead;
    const reading = await upstream.ask(raw, signal, wanted);
    if (reading.kind !== 'facts') return reading;
    const { facts } = reading;
    if (look.kind === 'opened' && look.part && look.part.identity !== facts.identity) throw anotherToken(name);
    reader.vouched(look, facts);
    return { ...reading, facts: look.kind === 'opened' && look.keyId !== undefined ? { ...facts, keyId: look.keyId } : facts };
  }

  async function read(raw: string, signal: AbortSignal, wanted: ReadOptions = {}): Promise<Reading> {
    const { kind } = shapeOf(raw);
    if (kind === 'malformed') return { kind: 'inactive', reason: 'MALFORMED' };
    const reader = readers.find(({ shape }) => shape === kind);
    if (kind === 'pki' && pki) return called(kind, await pki.read(raw, signal, wanted));
    return called(kind, reader ? await readWith(reader, raw, signal, wanted) : await upstream.ask(raw, signal, wanted));
  }

  async function glance(raw: string, wanted: Pick<ReadOptions, 'allowExpired'> = {}): Promise<Glance | undefined> {
    const { kind } = shapeOf(raw);
    if (kind === 'malformed') return { kind: 'inactive', reason: 'MALFORMED' };
    if (kind === 'pki') return pki?.glance?.(raw, wanted);
    return readers.find(({ shape }) => shape === kind)?.glance(raw, wanted.allowExpired === true);
  }

  /** Keys are held against a token of our own from the start on, not from the first token that somebody brings. */
  async function keepOwn(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // Why it cannot be had is told by the upstream's health, and by that of the keys.
      await own.wanted(signal).catch(() => undefined);
      await clock.delay(ownEveryMs, signal).catch(() => undefined);
    }
  }

  return {
    name: 'keystone',
    read,
    // Without keys nothing can be told: nobody need try.
    ...((readers.length > 0 || pki) && { glance }),
    ...(pki && { tellsAll: (raw: string) => shapeOf(raw).kind === 'pki' }),
    keySets: () => [
      ...readers.map((reader) => ({ name: reader.name, health: reader.health() })),
      ...(pki ? [{ name: 'pki', health: pki.health() }] : []),
    ],
    health: (): DependencyHealth => upstream.health(),
    async run(signal, invalidate) {
      const running = readers.map((reader) => reader.run(signal, invalidate));
      if (readers.length > 0) running.push(keepOwn(signal));
      if (pki?.run) running.push(pki.run(signal, invalidate));
      await Promise.all(running);
    },
  };
}

/** How often it is seen to that there is a token of our own: it is asked for once, and once more when it ends. */
const ownEveryMs = 1_000;

/** What a token is called goes by its shape, so that sidecars with keys and without say the same. */
function called(kind: Exclude<ReturnType<typeof shapeOf>['kind'], 'malformed'>, reading: Reading): Reading {
  if (reading.kind !== 'facts') return reading;
  const { facts } = reading;
  const format = kind === 'jwt' ? 'opaque' : kind;
  // One of some keys has signed it; without them nobody can tell which (S2).
  const unknown = kind === 'keystone-jws' && facts.keyId === undefined ? [...facts.unknown, 'signing_key' as const] : facts.unknown;
  return { ...reading, facts: { ...facts, token: { ...facts.token, format }, unknown } };
}

function anotherToken(name: string): SidecarError {
  return new SidecarError('UNAVAILABLE', `Keystone "${name}" answered about another token than was asked about`, {
    reason: 'BAD_ANSWER',
    retryAfterMs: 1_000,
  });
}
