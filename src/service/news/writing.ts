// Writing down what news of one issuer say: durable and applied when it resolves, and as few entries as may be.

import { SidecarError } from '../../core/errors.ts';
import type { Clock, Logger, News, NewsInvalidation } from '../../ports.ts';
import type { Draft, Invalidations, Request } from '../invalidations.ts';
import { backoffMs } from '../telling/backoff.ts';
import { draftOf, type NewsPlace, type NewsTimes, requestOf } from './drafts.ts';

/** What writing needs. */
export interface WritingParts {
  readonly invalidations: Pick<Invalidations, 'append' | 'announce'>;
  readonly issuer: string;
  readonly times: NewsTimes;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  readonly stop: AbortSignal;
  /** Is told of each REFRESH of everything, spread, when it is applied. */
  readonly everythingIsRefreshed: () => void;
}

/** Beyond so many failures the pause grows no more: half a minute. */
const mostFailures = 6;

/** Entries of one issuer's news. */
export class Writing {
  readonly #parts: WritingParts;

  constructor(parts: WritingParts) {
    this.#parts = parts;
  }

  /**
   * One invalidation of `news`. A REVOKE is one entry however often and wherever it is told; a REFRESH merges with others of its selector
   * within a settle window (S6), and may resolve at the end of that. Rejects as `Invalidations.append`.
   */
  async write(news: News, n: number, one: NewsInvalidation, source: string): Promise<void> {
    const { issuer, times, clock, invalidations, stop, everythingIsRefreshed } = this.#parts;
    const place: NewsPlace = { issuer, source };
    const draft = draftOf(one, news, place, times, clock.nowMs());
    const request = requestOf(news, n, place, draft);
    if (draft.effect === 'REVOKE') await this.#revoke(draft, request);
    else await invalidations.announce(draft, stop, { caller: request.caller, requestId: request.requestId });
    if (draft.selector.kind === 'everything' && draft.spreadMs !== undefined) everythingIsRefreshed();
  }

  /** The same for all of them; until it is done: what the journal does not take is tried again, and said once. Rejects when we stop. */
  async writeForSure(news: News, invalidations: readonly NewsInvalidation[], source: string): Promise<void> {
    const { clock, log, issuer, random, stop } = this.#parts;
    for (let failures = 0; ; ) {
      try {
        await Promise.all(invalidations.map((one, n) => this.write(news, n, one, source)));
        return;
      } catch (error) {
        stop.throwIfAborted();
        failures += 1;
        if (failures === 1) log.error({ issuer, source, event: news.event, error }, 'what news mean cannot be written; trying again');
        await clock.delay(backoffMs(Math.min(failures, mostFailures), 0, random), stop);
      }
    }
  }

  async #revoke(draft: Draft, request: Request): Promise<void> {
    const { invalidations, stop } = this.#parts;
    try {
      await invalidations.append(draft, request, stop);
    } catch (error) {
      if (!(error instanceof SidecarError) || error.code !== 'ALREADY_EXISTS') throw error;
      // Another version has understood the same news otherwise: both hold.
      await invalidations.append(draft, { ...request, requestId: `${request.requestId} ${request.body.slice(0, 16)}` }, stop);
    }
  }
}
