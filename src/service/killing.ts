// The entries that kill one token: under each of its names, those that nobody can take back first (S4).

import { hash } from 'node:crypto';
import type { End } from '../core/decision.ts';
import { SidecarError } from '../core/errors.ts';
import { digestOf, signedContentOf } from '../core/raw.ts';
import type { Condition } from '../core/selector.ts';
import type { Tagger } from '../core/tag.ts';
import type { Clock } from '../ports.ts';
import { type Asked, type Done, originOf } from './asked.ts';
import type { FactsStore } from './facts.ts';
import type { Seen } from './glancing.ts';
import type { Invalidations } from './invalidations.ts';
import { type Issuer, longestLifeMs } from './issuer.ts';
import type { Known } from './known.ts';

/** What killing needs. */
export interface KillingParts {
  readonly facts: Pick<FactsStore, 'fetch' | 'forgetShared'>;
  readonly invalidations: Pick<Invalidations, 'append'>;
  readonly tagger: Tagger;
  readonly clock: Clock;
  /** Between our hosts. */
  readonly skewMs: number;
}

/** A token that is to die, as far as it is known. */
export interface Victim {
  readonly digest: string;
  /** Canonical; undefined where only its digest is at hand. */
  readonly raw: string | undefined;
  /** Undefined: nobody knows whose it is. */
  readonly issuer: Issuer | undefined;
  /** Undefined: nobody has told its facts. */
  readonly known: Known | undefined;
  /** What its keys tell, where there are no facts; without either only its shape is known, or less. */
  readonly seen?: Seen | undefined;
}

/** One revocation on its way. */
export interface Killing {
  readonly victim: Victim;
  readonly asked: Asked;
  /** Instead of the caller's own: the same for all that is written for it. */
  readonly requestId?: string;
  readonly lifeMs: number;
}

/** A revocation of a token that was not known then. */
export interface Unlearned {
  readonly raw: string;
  readonly issuer: Issuer;
  readonly asked: Asked;
  /** Its public name, as it was made then. */
  readonly fingerprint: string;
  readonly acceptedAtMs: number;
  /** When its entries are forgotten. */
  readonly endsAtMs: number;
}

/** Each name of it that is known is an entry; durable and applied when it resolves. Throws as `Invalidations.append`. */
export async function kill(parts: KillingParts, killing: Killing): Promise<Done> {
  const { victim } = killing;
  const [fingerprint = ''] = parts.tagger.fingerprints(victim.digest);
  const first = await append(parts, killing, { dimension: 'fingerprint', value: fingerprint });
  const also = otherName(victim);
  const last = also ? await append(parts, killing, also) : first;
  // It stays dead here by the entries; the others at least have to ask.
  parts.facts.forgetShared(victim.digest, victim.issuer);
  return { ...last, entryId: first.entryId };
}

/** Why a token is not learned that no key here has signed: another may come. It says nothing of its authority. */
export const keysMayBeOld = 'KEYS_MAY_BE_OLD';

/**
 * Adds what else names a token, now that it may be known, and keeps it dead for as long as it lives; once, however often it is called.
 * `refused`: the issuer does not know the token, and nothing is to be learned. Throws as `FactsStore.fetch` and `Invalidations.append`,
 * and UNAVAILABLE / KEYS_MAY_BE_OLD.
 */
export async function learn(parts: KillingParts, unlearned: Unlearned, signal: AbortSignal): Promise<'learned' | 'refused'> {
  const { raw, issuer, asked } = unlearned;
  const digest = digestOf(raw);
  const fetched = await parts.facts.fetch({ digest, raw, issuer }, signal);
  if (fetched.kind === 'inactive') {
    if (!fetched.byOldKeys) return 'refused';
    throw new SidecarError('UNAVAILABLE', `the keys of issuer "${issuer.name}" may be old`, { reason: keysMayBeOld });
  }
  const { known } = fetched;
  const victim = { digest, raw, issuer, known };
  // Of those who gave none, one for this revocation: what has been written before a crash is not written again.
  const requestId = asked.requestId || `${unlearned.fingerprint} ${unlearned.acceptedAtMs}`;
  const killing = { victim, asked, requestId, lifeMs: lifeOf(parts, known) };
  if (livesUntilMs(parts, known) > unlearned.endsAtMs) {
    await appendOnce(parts, killing, { dimension: 'fingerprint', value: known.fingerprint }, 'for its whole life');
  }
  const also = otherName(victim);
  if (also) await appendOnce(parts, killing, also, 'as it is known now');
  return 'learned';
}

/**
 * S12: to the token's own end where that is known. It may be later than the longest life from now on: a token that begins in the
 * future ends later too. One that says itself that it lives too long is inactive in any case, and need not be kept until year 9999.
 * An end that the authority may move is none.
 */
export function lifeOf(
  { clock, skewMs }: Pick<KillingParts, 'clock' | 'skewMs'>,
  { issuer, standing, issuedAtMs }: Pick<Known, 'issuer' | 'issuedAtMs'> & { readonly standing: End },
): number {
  const longest = longestLifeMs([issuer]);
  const leftMs = Math.max(0, standing.endsAtMs + issuer.expiredWithinMs - clock.nowMs());
  if (standing.livesTooLong && issuedAtMs !== undefined) return Math.min(longest, leftMs) + skewMs;
  return (issuer.movesEnds ? Math.max(longest, leftMs) : leftMs) + skewMs;
}

/** The end that it tells, where it may live until then. */
function livesUntilMs({ skewMs }: KillingParts, { issuer, standing, issuedAtMs }: Known): number {
  if (standing.livesTooLong && issuedAtMs !== undefined) return -Infinity;
  return standing.endsAtMs + issuer.expiredWithinMs + skewMs;
}

/** What names the token besides its fingerprint. Of one that nobody has verified nothing that it says of itself may be believed. */
function otherName({ known, seen, raw }: Victim): Condition | undefined {
  const identity = known ? known.identity : seen?.identity;
  if (identity !== undefined) return { dimension: 'identity', value: identity };
  const content = raw === undefined ? undefined : signedContentOf(raw);
  return content === undefined ? undefined : { dimension: 'signed_content', value: content };
}

async function appendOnce(parts: KillingParts, killing: Killing, condition: Condition, part: string): Promise<void> {
  try {
    await append(parts, killing, condition, part);
  } catch (error) {
    // Written before a crash, when another deployment key was the newest and made the fingerprint.
    if (!(error instanceof SidecarError && error.code === 'ALREADY_EXISTS')) throw error;
  }
}

/** Each name is an entry of its own, under a caller that nobody else is, so that no request id can mean two of them. */
function append(parts: KillingParts, killing: Killing, condition: Condition, part: string = condition.dimension): Promise<Done> {
  const { victim, asked, requestId = asked.requestId, lifeMs } = killing;
  const [fingerprint = ''] = parts.tagger.fingerprints(victim.digest);
  const issuer = victim.issuer && { issuer: victim.issuer.name };
  return parts.invalidations.append(
    { effect: 'REVOKE', selector: { kind: 'fit', ...issuer, conditions: [condition] }, lifeMs, origin: originOf(asked) },
    {
      caller: part === 'fingerprint' ? asked.caller : `${asked.caller} ${part}`,
      requestId,
      body: hash('sha256', JSON.stringify(['token', fingerprint]), 'hex'),
    },
  );
}
