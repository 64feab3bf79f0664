// From what news say to what is appended: the selector with its issuer, cut-off, spread and life (S4, S7, S12, S14).

import { hash } from 'node:crypto';
import type { Condition } from '../../core/selector.ts';
import type { News, NewsInvalidation } from '../../ports.ts';
import type { Draft, Request } from '../invalidations.ts';

/** For how long what is about an issuer's tokens matters, in milliseconds, skews included; and over what a wide REFRESH is spread. */
export interface NewsTimes {
  /** As a REVOKE by selector by RPC. */
  readonly revokeLifeMs: number;
  /** As long as anything that it makes stale is kept. */
  readonly refreshLifeMs: number;
  readonly wideWindowMs: number;
}

/** Whose news. */
export interface NewsPlace {
  readonly issuer: string;
  /** Of the source: `bus`, `poll`. */
  readonly source: string;
}

/**
 * The entry of one invalidation of `news`. Times are the source's own: a REVOKE without a cut-off cuts off in the second of the news. None
 * is brought forward: tokens and news are dated by one clock, which may be ahead of ours, and such a one lives as much longer.
 */
export function draftOf(one: NewsInvalidation, news: News, place: NewsPlace, times: NewsTimes, nowMs: number): Draft {
  const { issuer, source } = place;
  const { conditions, isWide } = one;
  const selector = conditions.length === 0 ? { kind: 'everything' as const, issuer } : { kind: 'fit' as const, issuer, conditions };
  const origin = {
    source: `${issuer}/${source}`,
    event: news.event,
    ...(news.requestId === undefined ? {} : { requestId: news.requestId }),
  };
  const common = { selector, ...(isWide ? { spreadMs: times.wideWindowMs } : {}), atMs: news.atMs, origin };
  if (one.effect === 'REFRESH') {
    // Facts from within the windows are stale too where a token's slot has not come.
    const lifeMs = times.refreshLifeMs + (isWide ? 2 * times.wideWindowMs : 0);
    return { effect: 'REFRESH', lifeMs, ...common };
  }
  const issuedBeforeMs = Math.floor((one.issuedBeforeMs ?? news.atMs) / 1000) * 1000;
  const lifeMs = times.revokeLifeMs + Math.max(0, issuedBeforeMs - nowMs);
  // What names one token kills it whenever it was issued.
  const cutOff = namesOneToken(conditions) ? {} : { issuedBeforeMs };
  return { effect: 'REVOKE', alsoRefreshes: true, lifeMs, ...cutOff, ...common };
}

/** Told again, by whichever source and wherever, it is the entry that it was. `n`: which of the news' invalidations. */
export function requestOf(news: News, n: number, { issuer }: NewsPlace, { effect, selector, issuedBeforeMs, spreadMs }: Draft): Request {
  const body = hash('sha256', JSON.stringify([effect, selector, issuedBeforeMs ?? null, spreadMs ?? null]), 'hex');
  return { caller: callerOf(issuer), requestId: requestIdOf(news, n), body };
}

/** What the event of an entry begins with that asks about everything, as something may have been missed. */
export const gapEvent = 'gap: ';

/** Under whose name an issuer's news are appended, whoever tells them. */
export function callerOf(issuer: string): string {
  return `news/${issuer}`;
}

/** `n`: which of the news' invalidations. */
export function requestIdOf({ id }: Pick<News, 'id'>, n: number): string {
  return `${id} ${n}`;
}

function namesOneToken(conditions: readonly Condition[]): boolean {
  return conditions.some(({ dimension }) => dimension === 'identity' || dimension === 'fingerprint');
}
