// What a revocation by possession means for the authority: whether it is told, and whether it is asked what else names the token (S4, S5).

import { SidecarError } from '../../core/errors.ts';
import type { Forward, Forwarded } from '../asked.ts';
import type { Killing, Victim } from '../killing.ts';
import type { RevokerParts } from '../revoker-parts.ts';
import type { Errand, Letter } from './letter.ts';

/** Writes the letters of revocations. */
export class Telling {
  readonly #parts: Pick<RevokerParts, 'forwarding' | 'tagger' | 'clock' | 'telemetry'>;

  constructor(parts: RevokerParts) {
    this.#parts = parts;
  }

  /** Whether the authority is to be told. Whose token it is has to be known, where nobody says so. */
  isWanted({ issuer }: Victim, forward: Forward): boolean {
    if (forward === 'always') return true;
    return forward === 'as-configured' && issuer?.revoke !== undefined && issuer.revokeUpstream;
  }

  /** Throws INVALID_ARGUMENT / CANNOT_FORWARD where the issuer is one that cannot be told, and it is demanded. */
  requirePossible({ issuer }: Victim, forward: Forward): void {
    if (forward !== 'always' || !issuer || issuer.revoke) return;
    const message = `issuer "${issuer.name}" cannot be told of revocations: nothing was revoked; ask for it without forwarding`;
    throw new SidecarError('INVALID_ARGUMENT', message, { reason: 'CANNOT_FORWARD' });
  }

  /** Whether its authority has not accepted it yet. */
  isNews({ digest }: Victim): boolean {
    return !this.#parts.forwarding.hasAccepted(digest);
  }

  /** Throws as `Forwarding.forward`, and says that the token is dead here all the same. */
  async tell(killing: Killing, signal: AbortSignal): Promise<Forwarded> {
    const letter = this.#letter('forward', killing);
    if (!letter) throw new SidecarError('INTERNAL', 'there is nothing to tell the authority', { reason: 'NO_LETTER' });
    try {
      return await this.#parts.forwarding.forward(letter, signal);
    } catch (error) {
      if (!(error instanceof SidecarError)) throw error;
      const message = `the token is dead here; its authority is not told yet: ${error.message}. Asked again, it is`;
      const { reason, retryAfterMs } = error;
      throw new SidecarError(error.code, message, { reason, cause: error, ...(retryAfterMs !== undefined && { retryAfterMs }) });
    }
  }

  /** Has what else names the token learned, where it is not known; durable when it resolves. `verified`: it is a token after all. */
  async learn(killing: Killing, verified: () => void): Promise<void> {
    const { known, seen } = killing.victim;
    const letter = known || seen ? undefined : this.#letter('learn', killing);
    if (!letter) return;
    try {
      await this.#parts.forwarding.learn(letter, verified);
    } catch (error) {
      // The token is dead in this spelling. To say that it is not would be worse.
      const fields = { issuer: letter.head.issuer, reason: error instanceof SidecarError ? error.reason : 'INTERNAL' };
      this.#parts.telemetry.log.warn(fields, 'what else names a revoked token is not learned');
    }
  }

  #letter(errand: Errand, { victim, asked, lifeMs }: Killing): Letter | undefined {
    const { tagger, clock } = this.#parts;
    const { digest, raw, issuer, known, seen } = victim;
    if (raw === undefined || !issuer) return undefined;
    const [fingerprint = ''] = tagger.fingerprints(digest);
    const acceptedAtMs = clock.nowMs();
    const { actor, caller, requestId, reason } = asked;
    const head = {
      errand,
      issuer: issuer.name,
      fingerprint,
      acceptedAtMs,
      endsAtMs: acceptedAtMs + lifeMs,
      isVerified: known !== undefined || seen !== undefined,
      asked: { actor, caller, requestId, reason },
    };
    return { head, raw };
  }
}
