// FindToken: the newest active token of a user on a project that the tiers know. Public names only; the token itself is nowhere here.

import { LRUCache } from 'lru-cache';
import { SidecarError } from '../core/errors.ts';
import type { Token } from '../core/token.ts';
import type { SharedCache } from '../ports.ts';
import type { FactsStore } from './facts.ts';
import type { Issuer } from './issuer.ts';
import type { Known } from './known.ts';
import type { Answer, Provenance } from './question.ts';
import { decodeRecord, encodeRecord, type NamesRecord } from './tier/records.ts';
import type { Validator } from './validator.ts';

/** Whose token. */
export interface Sought {
  /** Name of the issuer; empty where only one is configured. */
  readonly issuer: string;
  readonly userId: string;
  /** Empty: an unscoped one. */
  readonly projectId: string;
}

/** What finding needs. */
export interface FinderParts {
  readonly issuers: readonly Issuer[];
  /** Where sidecars share a tier. */
  readonly shared: SharedCache | undefined;
  /** How long a list is worth keeping. */
  readonly lifeMs: number;
  /** Somebody may ask here. Where nobody may, names are only shared. */
  readonly remembers: boolean;
}

/** Where facts are, and who judges them. */
interface Stores {
  readonly facts: FactsStore;
  readonly validator: Validator;
}

/** A token's public name; `digest` where this sidecar has it in memory. */
interface Name {
  readonly fingerprint: string;
  readonly issuedAtMs: number;
  readonly digest?: string | undefined;
}

/** Fingerprints under one key; the newest tokens' only. */
const mostNames = 8;
/** Names in memory, of all users and projects: some 17 MB where all are used (bench/memory). */
const mostInMemory = 65_536;

/** Which tokens a user has on a project, by their public names: each is confirmed by reading its facts when somebody asks. */
export class Finder {
  readonly #parts: FinderParts;
  /** What this sidecar has learned itself. */
  readonly #memory = new LRUCache<string, readonly Name[]>({ maxSize: mostInMemory, sizeCalculation: (names) => names.length });

  constructor(parts: FinderParts) {
    this.#parts = parts;
  }

  /** To be told of all facts that are learned here. Nobody waits for the shared list: a name that two writers lose is merely not found. */
  learned(known: Known, isNews: boolean): void {
    const key = keyOf(known.issuer.name, known.token());
    if (key === undefined) return;
    const name = { fingerprint: known.fingerprint, issuedAtMs: known.issuedAtMs ?? 0, digest: known.digest };
    if (this.#parts.remembers) this.#memory.set(key, withName(this.#memory.get(key) ?? [], name));
    if (isNews) void this.#share(key, { fingerprint: name.fingerprint, issuedAtMs: name.issuedAtMs });
  }

  /**
   * The answer that Validate would give for the newest of them that is active; undefined: none is known here, which does not mean that
   * none exists. Throws INVALID_ARGUMENT where `sought` names no user or no issuer that is configured.
   */
  async find(sought: Sought, stores: Stores): Promise<Answer | undefined> {
    const key = keyFor({ ...sought, issuer: this.#issuerOf(sought) });
    if (!sought.userId) throw new SidecarError('INVALID_ARGUMENT', 'the request names no user', { reason: 'USER_MISSING' });
    let newest: { readonly answer: Answer; readonly issuedAtMs: number } | undefined;
    for (const { known, provenance } of await this.#candidates(key, stores)) {
      // The list is not believed: it may be old, and names are short.
      if (keyOf(known.issuer.name, known.token()) !== key) continue;
      const answer = stores.validator.confirm(known, provenance);
      const issuedAtMs = known.issuedAtMs ?? 0;
      if (answer?.decision.active && issuedAtMs >= (newest?.issuedAtMs ?? -1)) newest = { answer, issuedAtMs };
    }
    return newest?.answer;
  }

  async #candidates(key: string, stores: Stores): Promise<readonly { readonly known: Known; readonly provenance: Provenance }[]> {
    const { facts, validator } = stores;
    const names = [...(this.#memory.get(key) ?? []), ...(await this.#shared(key))];
    const digests = new Map(names.map(({ fingerprint }) => [fingerprint, names.find((one) => one.fingerprint === fingerprint)?.digest]));
    const found = await Promise.all(
      [...digests].map(async ([fingerprint, digest]) => {
        const here = digest === undefined ? undefined : facts.find(digest);
        // Another sidecar may have confirmed what is too old here.
        if (here && validator.isGood(here)) return { known: here, provenance: 'MEMORY' as const };
        const there = await facts.findShared({ fingerprint });
        const isNewer = typeof there !== 'string' && !(here && here.began.monotonicMs >= there.began.monotonicMs);
        if (isNewer) return { known: there, provenance: 'SHARED' as const };
        return here && { known: here, provenance: 'MEMORY' as const };
      }),
    );
    return found.filter((one) => one !== undefined);
  }

  async #shared(key: string): Promise<readonly Name[]> {
    const finding = await this.#parts.shared?.get(key);
    const names = finding?.kind === 'found' ? decodeRecord<NamesRecord>(finding.value, 'names')?.names : undefined;
    return Array.isArray(names) ? names : [];
  }

  async #share(key: string, name: Name): Promise<void> {
    const { shared, lifeMs } = this.#parts;
    if (shared) await shared.set(key, encodeRecord({ names: withName(await this.#shared(key), name) }), lifeMs);
  }

  #issuerOf({ issuer }: Sought): string {
    const { issuers } = this.#parts;
    const [only] = issuers;
    if (issuer === '' && issuers.length === 1 && only) return only.name;
    if (issuer === '') throw new SidecarError('INVALID_ARGUMENT', 'several issuers are configured: name one', { reason: 'ISSUER_MISSING' });
    if (issuers.some((one) => one.name === issuer)) return issuer;
    throw new SidecarError('INVALID_ARGUMENT', 'the request names an issuer that is not configured', { reason: 'ISSUER_UNKNOWN' });
  }
}

/** The newest by their issue. */
function withName<One extends Name>(names: readonly One[], name: One): readonly One[] {
  const others = names.filter(({ fingerprint }) => fingerprint !== name.fingerprint);
  return [...others, name].toSorted((a, b) => a.issuedAtMs - b.issuedAtMs).slice(-mostNames);
}

/** Tokens of other scopes, and of nobody, are not found. */
function keyOf(issuer: string, { user, scope }: Token): string | undefined {
  if (!user || (scope.kind !== 'project' && scope.kind !== 'unscoped')) return undefined;
  return keyFor({ issuer, userId: user.id, projectId: scope.kind === 'project' ? scope.project.id : '' });
}

function keyFor({ issuer, userId, projectId }: Sought): string {
  return `find ${JSON.stringify([issuer, userId, projectId])}`;
}
