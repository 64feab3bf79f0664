// What a question wants applied before it is decided: waited for, a short while.

import { appendedAtMsOf } from '../core/entry-id.ts';
import { SidecarError } from '../core/errors.ts';
import type { Cursor } from '../core/invalidation.ts';
import type { Clock } from '../ports.ts';
import type { Invalidations } from './invalidations.ts';
import { type Issuer, longestLifeMs } from './issuer.ts';
import type { Question } from './question.ts';
import { orAborted } from './wakeup.ts';

/** What waiting needs. */
export interface FreshnessParts {
  readonly issuers: readonly Issuer[];
  readonly invalidations: Invalidations;
  readonly clock: Clock;
  /** The longest wait. */
  readonly freshnessWaitMs: number;
}

type Wanted = NonNullable<Question['atLeastAsFresh']>;

/** Waits for positions and entries. */
export class Freshness {
  readonly #parts: FreshnessParts;

  constructor(parts: FreshnessParts) {
    this.#parts = parts;
  }

  /** Whether that is certain without waiting. */
  isThere(wanted: Wanted): boolean {
    if (!('cursor' in wanted)) return false;
    const { invalidations } = this.#parts;
    return wanted.cursor.journal === invalidations.journal.id && wanted.cursor.revision <= invalidations.applied;
  }

  /**
   * Resolves when it is applied. Throws FAILED_PRECONDITION / NOT_FRESH_ENOUGH where it does not come in time, OTHER_JOURNAL where it
   * cannot, and INVALID_ARGUMENT / ENTRY_ID_MALFORMED.
   */
  async waitFor(wanted: Wanted, signal: AbortSignal): Promise<void> {
    const { freshnessWaitMs } = this.#parts;
    const timeout = AbortSignal.timeout(freshnessWaitMs);
    const limited = AbortSignal.any([signal, timeout]);
    try {
      if ('cursor' in wanted) await this.#cursorApplied(wanted.cursor, limited);
      else await this.#entryApplied(wanted.entryId, limited);
    } catch (error) {
      if (error instanceof SidecarError) throw error;
      // Looking at `timeout` here also keeps it alive: node 20 may collect one that only AbortSignal.any refers to.
      const waited = timeout.aborted ? 'in time' : 'before the caller left';
      const message = `what the request wants applied has not come here ${waited}`;
      throw new SidecarError('FAILED_PRECONDITION', message, { reason: 'NOT_FRESH_ENOUGH', retryAfterMs: freshnessWaitMs, cause: error });
    }
  }

  async #cursorApplied(cursor: Cursor, signal: AbortSignal): Promise<void> {
    const { invalidations } = this.#parts;
    if (cursor.journal !== invalidations.journal.id) {
      throw new SidecarError('FAILED_PRECONDITION', 'the cursor is of another journal', { reason: 'OTHER_JOURNAL' });
    }
    await invalidations.waitFor(cursor.revision, signal);
  }

  /** By id, wherever it was made. One older than anything kept is applied: its token's life is over (S14). */
  async #entryApplied(entryId: string, signal: AbortSignal): Promise<void> {
    const { invalidations, clock, issuers } = this.#parts;
    const appendedAtMs = appendedAtMsOf(entryId);
    if (appendedAtMs === undefined) {
      throw new SidecarError('INVALID_ARGUMENT', 'entry_id is not the id of an invalidation', { reason: 'ENTRY_ID_MALFORMED' });
    }
    for (;;) {
      const seen = invalidations.changed.version;
      const placed = await orAborted(invalidations.journal.find(entryId), signal);
      if (placed) return invalidations.waitFor(placed.revision, signal);
      if (appendedAtMs + longestLifeMs(issuers) < clock.nowMs()) return;
      await invalidations.changed.wait(seen, signal);
    }
  }
}
