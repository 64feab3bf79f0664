// Tokens of one kind, read with a directory of keys: what they are at a glance, and what Keystone's answers say about the keys.

import { canonical, digestOf, type ShapeKind, shapeOf } from '../core/raw.ts';
import type { Facts } from '../core/token.ts';
import type { Clock, DependencyHealth, Glance, Logger } from '../ports.ts';
import { KeyProof } from './key-proof.ts';
import { type KeyFiles, KeyRepository, type KeysInUse, type RepositoryKey } from './key-repository.ts';
import { type KeystoneClaims, type Part, partOf } from './keystone-claims.ts';

/** A kind of token that keys open. */
export interface KeyedTokens<Key extends RepositoryKey> {
  /** Of its key set, in status and metrics. */
  readonly name: string;
  readonly shape: ShapeKind;
  readonly files: KeyFiles<Key>;
  /** As KeyTraits. */
  readonly oneAtATime: boolean;
  /** Facts name the key, and its leaving is told (S8). */
  readonly namesKey: boolean;
  /** What a token is before any key has been tried; why it is none, where it is none whatever the keys are. */
  unseal(raw: string): Sealed<Key> | 'MALFORMED' | 'BAD_SIGNATURE';
}

/** A token that a key may open. Its times are what it says of itself, where it says that in clear. */
export interface Sealed<Key extends RepositoryKey> {
  readonly issuedAtMs: number | undefined;
  readonly expiresAtMs: number | undefined;
  /** Undefined: none of the keys has made it. */
  open(keys: readonly Key[]): Promise<Opened<Key> | undefined>;
}

/** What a key has opened. `claims` undefined: nothing in it that can be read here. */
export interface Opened<Key extends RepositoryKey> {
  readonly key: Key;
  readonly claims: KeystoneClaims | undefined;
}

/** The token that this sidecar itself has of its Keystone, as it is now. */
export type HeldToken = () => string | undefined;

/** What a reader needs to know. */
export interface KeyReaderOptions<Key extends RepositoryKey> {
  /** Name of the issuer in the configuration. */
  readonly issuer: string;
  readonly dir: string;
  readonly tokens: KeyedTokens<Key>;
  /** What is allowed beyond a token's end. */
  readonly leewayMs: number;
  /** How far Keystone's clock may be ahead of ours. */
  readonly skewMs: number;
}

/** How a token looks: dead whatever the keys are, opened by one of them, or by none. */
export type Look<Key extends RepositoryKey = RepositoryKey> = Dead | OpenedLook<Key> | UnopenedLook<Key>;

interface Dead {
  readonly kind: 'inactive';
  readonly reason: 'MALFORMED' | 'BAD_SIGNATURE';
}

interface OpenedLook<Key extends RepositoryKey> {
  readonly kind: 'opened';
  readonly key: Key;
  /** What facts call the key, where they name it. */
  readonly keyId: string | undefined;
  /** Undefined: it says nothing that can be read here. */
  readonly part: Part | undefined;
}

interface UnopenedLook<Key extends RepositoryKey> {
  readonly kind: 'unopened';
  readonly sealed: Sealed<Key>;
  /** The keys that were tried; `isCurrent`: they were those of the directory. */
  readonly inUse: KeysInUse<Key>;
  readonly isCurrent: boolean;
}

/** Reads one kind of token of one Keystone. */
export class KeyReader<Key extends RepositoryKey = RepositoryKey> {
  readonly name: string;
  readonly shape: ShapeKind;
  readonly #options: KeyReaderOptions<Key>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #held: HeldToken;
  readonly #repository: KeyRepository<Key>;
  readonly #proof: KeyProof<Key>;
  /** The own token that was looked at last, and with which keys. */
  #ownLooked = '';
  #wasOutOfStep = false;

  constructor(options: KeyReaderOptions<Key>, deps: { readonly clock: Clock; readonly log: Logger; readonly held: HeldToken }) {
    const { issuer, dir, tokens, skewMs } = options;
    this.name = tokens.name;
    this.shape = tokens.shape;
    this.#options = options;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#held = deps.held;
    this.#repository = new KeyRepository({ issuer, name: tokens.name, dir, files: tokens.files }, deps);
    this.#proof = new KeyProof({ oneAtATime: tokens.oneAtATime, skewMs }, deps.clock);
  }

  /** As TokenFormat.glance. */
  async glance(raw: string, allowExpired: boolean): Promise<Glance | undefined> {
    const look = await this.look(raw);
    if (look.kind === 'inactive') return look;
    if (look.kind === 'unopened') return this.#judged(look, allowExpired);
    return this.isOutOfStep ? undefined : (this.judge(look.part, allowExpired) ?? look.part);
  }

  /** Opens it if a key does that, one that has just come too. Nothing is judged but what no key could mend. */
  async look(raw: string): Promise<Look<Key>> {
    const sealed = this.#options.tokens.unseal(raw);
    if (typeof sealed === 'string') return { kind: 'inactive', reason: sealed };
    const before = await this.#repository.loaded();
    const look = await this.#open(sealed, before);
    if (look.kind === 'opened' || before.keys.length === 0) return look;
    // Before it is called wrongly signed: its key may have come within this second.
    const isCurrent = await this.#repository.look();
    const { inUse } = this.#repository;
    const again = inUse.generation === before.generation ? look : await this.#open(sealed, inUse);
    return again.kind === 'opened' ? again : { ...again, isCurrent: isCurrent && again.isCurrent };
  }

  async #open(sealed: Sealed<Key>, inUse: KeysInUse<Key>): Promise<OpenedLook<Key> | UnopenedLook<Key>> {
    const { issuer, tokens } = this.#options;
    try {
      const opened = await sealed.open(inUse.keys);
      if (!opened) return { kind: 'unopened', sealed, inUse, isCurrent: inUse.keys.length > 0 };
      const { key, claims } = opened;
      const keyId = tokens.namesKey ? key.id : undefined;
      return { kind: 'opened', key, keyId, part: claims && partOf(claims, issuer, keyId) };
    } catch (error) {
      // Not about the token: no evidence against it. Nothing of what it says is in the message of a cipher.
      this.#log.error({ issuer, keys: this.name, error }, 'a token could not be opened: Keystone is asked');
      return { kind: 'unopened', sealed, inUse, isCurrent: false };
    }
  }

  /** Why a token that a key has opened is not good now, as far as it tells that itself. */
  judge(part: Part | undefined, allowExpired: boolean): Extract<Glance, { kind: 'inactive' }> | undefined {
    const { leewayMs, skewMs } = this.#options;
    const nowMs = this.#clock.nowMs();
    const { issuedAtMs = nowMs, expiresAtMs = Infinity } = part ?? {};
    if (!allowExpired && nowMs >= expiresAtMs + leewayMs) return { kind: 'inactive', reason: 'EXPIRED' };
    // Keystone has no answer for such a JWS (PyJWT's rule for `iat`), and none of ours would be another.
    return nowMs < issuedAtMs - skewMs ? { kind: 'inactive', reason: 'NOT_YET_VALID', byOldKeys: true } : undefined;
  }

  async #judged({ sealed, isCurrent, inUse }: UnopenedLook<Key>, allowExpired: boolean): Promise<Glance | undefined> {
    await this.#lookAtOwn();
    // Other keys may have come with that: these have not been tried.
    if (!isCurrent || this.isOutOfStep || inUse.generation !== this.#repository.inUse.generation) return undefined;
    const { expiresAtMs = Infinity } = sealed;
    // Never certain: a key may be missing here. A Revoke of it that wrote nothing would be undone by that key's coming.
    const wrong = { kind: 'inactive', reason: 'BAD_SIGNATURE', byOldKeys: true } as const;
    // Where it is over by its own words, nobody need be asked who wrote them.
    if (!allowExpired && this.#proof.isProven(inUse) && this.#clock.nowMs() >= expiresAtMs + this.#options.leewayMs) return wrong;
    return this.#proof.judge(sealed.issuedAtMs, inUse) === 'ask' ? undefined : wrong;
  }

  /** Keystone has given facts of the token that looks so. */
  vouched(look: Look<Key>, { token }: Facts): void {
    if (look.kind === 'inactive') return;
    const { inUse } = this.#repository;
    // Keystone's tokens tell both: without them this shows nothing.
    const { issuedAtMs, expiresAtMs: endsAtMs } = token;
    if (issuedAtMs === undefined || endsAtMs === undefined) return;
    if (look.kind === 'opened') this.#proof.opened(look.key, issuedAtMs, inUse);
    else if (look.isCurrent && look.inUse.generation === inUse.generation) this.#proof.unopened({ issuedAtMs, endsAtMs }, inUse);
    this.#tellSteps();
  }

  get isOutOfStep(): boolean {
    return this.#proof.isOutOfStep;
  }

  /** The directory's, and how the keys stand to Keystone. Reachable while tokens are read with them. */
  health(): DependencyHealth {
    const health = this.#repository.health();
    const { inUse } = this.#repository;
    if (inUse.keys.length === 0) return { ...health, reachable: false, problem: `${health.problem ?? 'there is no key'}: ${asked}` };
    if (this.isOutOfStep) return { ...health, reachable: false, problem: `${outOfStep}: ${asked}` };
    if (health.problem !== undefined || this.#proof.isProven(inUse)) return health;
    return { ...health, problem: 'no token of this Keystone has been read with these keys yet' };
  }

  /** Follows the directory until `signal` aborts; `invalidate` as TokenFormat.run. */
  async run(signal: AbortSignal, invalidate: (keyId: string) => Promise<void>): Promise<void> {
    const looking = this.#repository.run(signal, async (keyId) => {
      if (this.#options.tokens.namesKey) await invalidate(keyId);
    });
    while (!signal.aborted) {
      await this.#lookAtOwn();
      this.#tellSteps();
      await this.#clock.delay(tickMs, signal).catch(() => undefined);
    }
    await looking;
  }

  /** The own token is of this moment, and nobody has to be asked about it: what it shows is known before the first user comes. */
  async #lookAtOwn(): Promise<void> {
    const { keys, generation } = await this.#repository.loaded();
    const raw = this.#held();
    const looked = raw === undefined ? '' : `${generation} ${digestOf(raw)}`;
    if (looked === this.#ownLooked) return;
    const text = canonical(raw ?? '');
    const isOurs = keys.length > 0 && shapeOf(text).kind === this.shape;
    const look = isOurs ? await this.look(text) : undefined;
    // Keys that have come meanwhile, or another token, are looked at again.
    if (this.#repository.inUse.generation !== generation || this.#held() !== raw) return;
    // By keys of a directory that cannot be read nothing is shown: again, then, when it can.
    if (look?.kind === 'unopened' && !look.isCurrent) return;
    this.#ownLooked = looked;
    this.#proof.ownIsUnopened(look?.kind === 'unopened');
    const issuedAtMs = look?.kind === 'opened' ? look.part?.issuedAtMs : undefined;
    if (look?.kind === 'opened' && issuedAtMs !== undefined) this.#proof.opened(look.key, issuedAtMs, this.#repository.inUse);
    this.#tellSteps();
  }

  /** One line when it begins, one when it is over. */
  #tellSteps(): void {
    const is = this.isOutOfStep;
    if (is === this.#wasOutOfStep) return;
    this.#wasOutOfStep = is;
    const fields = { issuer: this.#options.issuer, keys: this.name, keySet: this.#repository.health().keySetDigest };
    if (is) this.#log.warn(fields, `${outOfStep}: ${asked}`);
    else this.#log.info(fields, 'the keys at hand are in step with Keystone again');
  }
}

const tickMs = 1_000;
const outOfStep = 'the keys are out of step with Keystone, which accepts a token that none of them opens';
const asked = 'it is asked about every token';
