// What the memory tier holds of one token: its facts as bytes, the numbers that decide, and what was last found to cover it.

import { hash } from 'node:crypto';
import { attributesOf } from '../core/attributes.ts';
import { type Standing, standingOf } from '../core/decision.ts';
import { type Covering, uncovered } from '../core/invalidation-index.ts';
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

/** One token's facts in memory. */
export interface Known {
  readonly issuer: Issuer;
  readonly fingerprint: string;
  /** S2: what names this token whatever its spelling; undefined where its facts have nothing of the kind. */
  readonly identity: string | undefined;
  readonly attributes: TaggedAttributes;
  readonly issuedAtMs: number | undefined;
  readonly canAsk: boolean;
  readonly standing: Standing;
  /** The token as the codec wrote it. */
  readonly encoded: Uint8Array;
  /** The verified claims, JSON in UTF-8. */
  readonly claims: Uint8Array;
  readonly began: FetchBegin;
  readonly provenance: 'authority' | 'signature';
  /** Monotonic; after this they are fetched again. `Infinity`: never, by time. */
  readonly freshUntilMs: number;
  /** What the invalidations up to `checkedRevision` mean for it: the number that a hit compares. */
  covering: Covering;
  checkedRevision: number;
  token(): Token;
}

/** What making a `Known` needs beside the facts. */
export interface KnownParts {
  readonly issuer: Issuer;
  readonly digest: string;
  /** What names the token whatever the spelling of its signature; undefined where it has none. */
  readonly signedContent: string | undefined;
  readonly facts: Facts;
  readonly provenance: 'authority' | 'signature';
  readonly began: FetchBegin;
  /** How long facts serve, jitter included; `Infinity`: until the token ends. */
  readonly timeMs: number;
}

/** Makes the record of freshly learned facts. Cost: one keyed hash per attribute; done once per fetch. */
export function knownOf(parts: KnownParts, tagger: Tagger, codec: TokenCodec): Known {
  const { issuer, facts, began } = parts;
  const { claimsJson, ...token } = facts.token;
  const fingerprints = tagger.fingerprints(parts.digest);
  const encoded = codec.encode(token);
  // The digest stands in, but not itself: it is as secret as the token, and an identity is written down.
  const identity =
    facts.identity ?? hash('sha256', `sidegate identity ${Buffer.from(parts.digest, 'latin1').toString('hex')}`, 'base64url');
  return {
    issuer,
    fingerprint: fingerprints[0] ?? '',
    identity: facts.identity,
    attributes: tagger.attributes(issuer.name, attributesOf(facts, identity, parts.signedContent), fingerprints),
    issuedAtMs: token.issuedAtMs,
    canAsk: issuer.canAsk,
    standing: standingOf(facts, issuer.life, began.wallMs),
    encoded,
    claims: Buffer.from(claimsJson ?? '', 'utf8'),
    began,
    provenance: parts.provenance,
    freshUntilMs: began.monotonicMs + parts.timeMs,
    covering: uncovered,
    checkedRevision: -1,
    token: () => codec.decode(encoded),
  };
}

/** Bytes that a record keeps alive, about: its buffers and some 700 for the objects around them (measured in bench/). */
export function sizeOf(known: Known): number {
  return (
    known.encoded.byteLength + known.claims.byteLength + known.attributes.tags.byteLength + known.attributes.dimensions.byteLength + 700
  );
}
