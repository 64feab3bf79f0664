// What the memory tier holds of one token: its facts as bytes, the numbers that decide, and what was last found to cover it.

import { hash } from 'node:crypto';
import { attributesOf } from '../core/attributes.ts';
import { type Standing, standingOf } from '../core/decision.ts';
import { type Covering, uncovered } from '../core/invalidation-index.ts';
import { hashIdsOf, signedContentOf } from '../core/raw.ts';
import type { TaggedAttributes, Tagger } from '../core/tag.ts';
import type { Facts, Token } from '../core/token.ts';
import type { Issuer } from './issuer.ts';

/** Facts as bytes. Encoded once, on fill; a hit copies them, and only a demand decodes them. */
export interface TokenCodec {
  /** Without the claims, which are kept beside it. */
  encode(token: Token): Uint8Array;
  decode(bytes: Uint8Array): Token;
}

/** The moment a fetch began: the one age of facts (S1), and what they can know of invalidations (S6). */
export interface FetchBegin {
  readonly wallMs: number;
  readonly monotonicMs: number;
  /** The revision applied here at that moment. */
  readonly revision: number;
}

/** What names a token beside its facts. */
export interface TokenNames {
  /** As secret as the token; undefined where only its public names are known. */
  readonly digest: string | undefined;
  /** Under each accepted key, the newest key's first. */
  readonly fingerprints: readonly string[];
  /** The keys that those were made with. */
  readonly keyIds: readonly string[];
  /** Its identity where its facts have none. */
  readonly standIn: string;
  /** What names it whatever the spelling of its signature; undefined where it has none. */
  readonly signedContent: string | undefined;
  /** Keystone's own ids of a PKI token, which name it too; as secret as the token. */
  readonly hashIds: readonly string[];
}

/** The names of the token with this digest; `raw`, where it is at hand, gives the last of them. */
export function namesOf(digest: string, raw: string, tagger: Tagger): TokenNames {
  return {
    digest,
    fingerprints: tagger.fingerprints(digest),
    keyIds: tagger.keyIds,
    // The digest stands in, but not itself: it is as secret as the token, and an identity is written down.
    standIn: hash('sha256', `sidegate identity ${Buffer.from(digest, 'latin1').toString('hex')}`, 'base64url'),
    signedContent: signedContentOf(raw),
    hashIds: hashIdsOf(raw),
  };
}

/** One token's facts in memory. */
export interface Known {
  readonly issuer: Issuer;
  readonly digest: string | undefined;
  readonly fingerprint: string;
  /** S2: what names this token whatever its spelling; undefined where its facts have nothing of the kind. */
  readonly identity: string | undefined;
  readonly attributes: TaggedAttributes;
  readonly issuedAtMs: number | undefined;
  /** An authority can be asked about it again: not about what a signature proves, whoever issued it (S2, S4). */
  readonly canAsk: boolean;
  readonly standing: Standing;
  /** The token as the codec wrote it. */
  readonly encoded: Uint8Array;
  /** The verified claims, JSON in UTF-8; of a Keystone token its own bytes without the catalog. */
  readonly claims: Uint8Array;
  /** Where in `claims` the catalog stood; -1: it was not among them. */
  readonly catalogAt: number;
  readonly began: FetchBegin;
  readonly provenance: 'authority' | 'signature';
  /** Monotonic; after this they are fetched again. `Infinity`: never, by time. */
  readonly freshUntilMs: number;
  /** Monotonic; a hit after this has them confirmed again beside it. `Infinity`: none does. */
  refreshFromMs: number;
  /** The service catalog that is this token's, which others of its user and scope share; undefined: it has none. */
  readonly catalogName: string | undefined;
  /** What the invalidations up to `checkedRevision` mean for it: the number that a hit compares. */
  covering: Covering;
  checkedRevision: number;
  token(): Token;
}

/** How long facts serve. */
export interface FactsTimes {
  /** After the fetch began; `Infinity`: until the token ends. */
  readonly timeMs: number;
  /** The part of `timeMs` by which it varies at random, so that tokens learned together do not end together. */
  readonly jitter: number;
  /** The part of `timeMs` after which a hit has them confirmed again; 1: none does. */
  readonly refreshAhead: number;
}

/** What making a `Known` needs beside the facts. */
export interface KnownParts {
  readonly issuer: Issuer;
  readonly names: TokenNames;
  readonly facts: Facts;
  readonly provenance: 'authority' | 'signature';
  readonly began: FetchBegin;
  /** How long facts serve, jitter included; `Infinity`: until the token ends. */
  readonly timeMs: number;
  /** The part of that after which a hit has them confirmed again; 1 or more: none does. */
  readonly refreshAhead: number;
}

const utf8 = new TextEncoder();

/** How long facts serve: `timeMs` and less by up to `jitter` of it at random. Downwards only: never longer than their time. */
export function lifeWith({ timeMs, jitter, refreshAhead }: FactsTimes, random: () => number): Pick<KnownParts, 'timeMs' | 'refreshAhead'> {
  return { timeMs: timeMs * (1 - jitter * random()), refreshAhead };
}

/** Makes the record of facts. Cost: one keyed hash per attribute; done once per fetch. */
export function knownOf(parts: KnownParts, tagger: Tagger, codec: TokenCodec): Known {
  const { issuer, facts, began, names } = parts;
  const { claimsJson, ...token } = facts.token;
  const encoded = codec.encode(token);
  const canAsk = issuer.canAsk && parts.provenance === 'authority';
  const attributes = attributesOf(facts, facts.identity ?? names.standIn, names);
  return {
    issuer,
    digest: names.digest,
    fingerprint: names.fingerprints[0] ?? '',
    identity: facts.identity,
    attributes: tagger.attributes(issuer.name, attributes, names.fingerprints),
    issuedAtMs: token.issuedAtMs,
    canAsk,
    standing: standingOf(facts, issuer.life, began.wallMs),
    encoded,
    // Of its own memory: a small Buffer is cut out of a pool of 8 KiB, which it would keep alive.
    claims: utf8.encode(claimsJson ?? ''),
    catalogAt: facts.catalogAt ?? -1,
    began,
    provenance: parts.provenance,
    freshUntilMs: began.monotonicMs + parts.timeMs,
    refreshFromMs: canAsk && parts.refreshAhead < 1 ? began.monotonicMs + parts.refreshAhead * parts.timeMs : Infinity,
    catalogName: issuer.hasCatalogs ? catalogNameOf(token, canAsk ? '' : (names.fingerprints[0] ?? '')) : undefined,
    covering: uncovered,
    checkedRevision: -1,
    token: () => codec.decode(encoded),
  };
}

/**
 * Keystone makes a catalog for a user on a project; what is not scoped has none. Under a trust either party may be the one it is made for.
 * `only`: the one token that has it. What a token carries is as old as the token, and not for others.
 */
function catalogNameOf({ user, trust, scope }: Token, only: string): string | undefined {
  if (scope.kind === 'unscoped') return undefined;
  const place = scope.kind === 'project' ? scope.project.id : scope.kind === 'domain' ? scope.domain.id : '';
  return hash('sha256', JSON.stringify([user?.id, trust?.trusteeUserId, scope.kind, place, ...(only && [only])]), 'base64url');
}

/** Bytes that a record keeps alive, about: its buffers and some 1,700 for the objects around them (`npm run bench -- memory`). */
export function sizeOf(known: Known): number {
  return (
    known.encoded.byteLength + known.claims.byteLength + known.attributes.tags.byteLength + known.attributes.dimensions.byteLength + 1_700
  );
}
