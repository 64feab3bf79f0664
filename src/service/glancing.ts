// What a token's own keys tell of it before anybody is asked: held against the clock and the journal at once.

import { endOf, type InactiveReason } from '../core/decision.ts';
import type { Coverable, Revoked } from '../core/invalidation-index.ts';
import { signedContentOf } from '../core/raw.ts';
import type { Tagger } from '../core/tag.ts';
import type { Clock } from '../ports.ts';
import type { Invalidations } from './invalidations.ts';
import { asksAbout, type Issuer } from './issuer.ts';

/** What glancing needs. */
export interface GlancingParts {
  readonly invalidations: Invalidations;
  readonly tagger: Tagger;
  readonly clock: Clock;
}

/** A token that is glanced at. */
export interface Glanced {
  readonly digest: string;
  /** Canonical. */
  readonly raw: string;
  readonly issuer: Issuer;
  /** It is told also where it has ended. */
  readonly allowExpired?: boolean;
}

/** A token of which its keys tell who, where and how long; what it may do, only its authority knows. */
export interface Seen extends Coverable {
  /** S2: what names it whatever its spelling. */
  readonly identity: string;
  /** As in `Standing`. */
  readonly endsAtMs: number;
  readonly livesTooLong: boolean;
}

/** `nothing`: nobody but the authority can tell. */
export type Sight =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'inactive'; readonly reason: InactiveReason }
  | { readonly kind: 'seen'; readonly seen: Seen };

/** Never throws, and waits for nobody. Cost: as the format's glance; of a token that is good so far one keyed hash an attribute. */
export async function glanceAt({ digest, raw, issuer, allowExpired = false }: Glanced, { tagger, clock }: GlancingParts): Promise<Sight> {
  // What tells all of itself is read as a whole, once: a glance would verify it a second time.
  if (issuer.canAsk && !asksAbout(issuer, raw)) return { kind: 'nothing' };
  const glance = await issuer.format.glance?.(raw, { allowExpired });
  if (!glance) return { kind: 'nothing' };
  if (glance.kind === 'inactive') return glance;
  const { identity, issuedAtMs, expiresAtMs } = glance;
  const content = { dimension: 'signed_content' as const, value: signedContentOf(raw) };
  const attributes = content.value === undefined ? glance.attributes : [...glance.attributes, content];
  const end = endOf(
    { ...(issuedAtMs === undefined ? {} : { issuedAtMs }), ...(expiresAtMs === undefined ? {} : { expiresAtMs }) },
    issuer.life,
    clock.nowMs(),
  );
  const seen: Seen = {
    attributes: tagger.attributes(issuer.name, attributes, tagger.fingerprints(digest)),
    issuedAtMs,
    // Whatever it does not tell, its authority does.
    canAsk: issuer.canAsk,
    identity,
    ...end,
  };
  return { kind: 'seen', seen };
}

/**
 * Why a token is dead whatever its authority would say: in the order of `decide`, as far as that is certain of what was seen. A REVOKE
 * over what it does not tell is none (S2): its authority is asked.
 */
export function deathOf(
  seen: Seen,
  { issuer, allowExpired = false }: Glanced,
  { invalidations, clock }: GlancingParts,
): { readonly reason: InactiveReason; readonly revoked: Revoked | undefined } | undefined {
  if (seen.livesTooLong) return { reason: 'LIFETIME_TOO_LONG', revoked: undefined };
  // Beyond its window nothing makes it good (S16).
  if (clock.nowMs() >= seen.endsAtMs + (allowExpired ? issuer.expiredWithinMs : 0)) return { reason: 'EXPIRED', revoked: undefined };
  const { revoked } = invalidations.coveringOf(seen);
  return revoked && { reason: 'REVOKED', revoked };
}
