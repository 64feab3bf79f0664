// The rules of a near cache: what may be kept, what must be dropped, what may be repeated now (W1 to W3, W6, W8, W9, W11, W14, W15).

import { History } from '../core/history.ts';
import type { Cursor } from '../core/invalidation.ts';
import type { Token } from '../core/token.ts';
import type { ActiveAnswer, Answer } from './answer.ts';
import { Proof } from './proof.ts';
import { fits, TaggedAnswers } from './tagged-answers.ts';
import type { WatchEvent, WatchFilter } from './watch.ts';

/** Invalidations remembered to judge answers that were decided before them. Beyond it late answers are dropped (W9). */
const historySize = 4096;
/** An answer with more tags than this is not kept: it would cost more than it saves. */
const maxTags = 1024;

interface Remembered {
  readonly revision: number;
  readonly tags: readonly bigint[];
}

/** When a question was sent, to be given back with its answer. */
export interface Asked {
  readonly atMs: number;
  /** How often everything had been forgotten by then. */
  readonly epoch: number;
}

/**
 * What a near cache knows. Pure: events, answers and times come in as values, by a local clock that never steps.
 * It knows no matching rule: an invalidation, whatever its effect, drops the answers that have all of its tags, and the sidecar is asked.
 */
export class Keeper {
  readonly #answers: TaggedAnswers;
  readonly #history = new History<Remembered>(historySize, 0);
  readonly #proof = new Proof();
  readonly #filter: WatchFilter | undefined;
  #cursor: Cursor | undefined;
  #epoch = 0;
  #news = 0;

  constructor(maxEntries: number, filter: WatchFilter | undefined) {
    this.#answers = new TaggedAnswers(maxEntries);
    this.#filter = filter;
  }

  get size(): number {
    return this.#answers.size;
  }

  /** Where to resume after. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  /** Moves on whenever an answer that is still under way may be older than what is known here. */
  get news(): number {
    return this.#news;
  }

  /** To be called right before a question is sent. */
  asked(nowMs: number): Asked {
    return { atMs: nowMs, epoch: this.#epoch };
  }

  /** Whether hits are possible at all. */
  proven(nowMs: number): boolean {
    return this.#proof.holds(nowMs);
  }

  /** The answer that may be repeated now. */
  hit(key: string, nowMs: number): ActiveAnswer | undefined {
    const kept = this.#answers.get(key);
    if (kept === undefined) return undefined;
    if (nowMs >= kept.untilMs) {
      this.#answers.delete(key);
      return undefined;
    }
    const { token, service } = kept.answer;
    // What rests on two tokens is as doubtful as either of them.
    if (service && !this.#proof.holds(nowMs, service.issuer)) return undefined;
    return this.#proof.holds(nowMs, token.issuer) ? kept.answer : undefined;
  }

  /** Keeps an answer where that is allowed; says whether. */
  keep(key: string, answer: Answer, asked: Asked): boolean {
    // W15: `max_age` is the only permission. It runs from the question, for nobody knows when the answer was made.
    if (!answer.active || answer.degraded || answer.maxAgeMs <= 0) return false;
    const tags = answer.tags ?? [];
    if (tags.length === 0 || tags.length > maxTags) return false;
    if (asked.epoch !== this.#epoch || answer.asOf.journal !== this.#cursor?.journal) return false;
    const since = this.#history.after(answer.asOf.revision);
    if (since === undefined || since.some((remembered) => fits(remembered.tags, tags))) return false;
    // What kills the service token must reach us too: its tags are among the answer's, and it may be somebody else's.
    if (!isInside(answer.token, this.#filter) || (answer.service && !isInside(answer.service, this.#filter))) return false;
    this.#answers.set(key, { answer, tags, untilMs: asked.atMs + answer.maxAgeMs });
    return true;
  }

  /** A new stream is asked for. */
  subscribing(nowMs: number): void {
    this.#proof.subscribing(nowMs);
  }

  /** What the stream told. */
  apply(event: WatchEvent, nowMs: number): void {
    switch (event.kind) {
      case 'opened': {
        // Of another journal: its reset follows; until then nothing of the old one may be compared with it (W1).
        if (this.#cursor?.journal !== event.latest.journal) this.#forget(event.latest);
        const { checkpointIntervalMs, proofLifetimeMs, latest } = event;
        this.#proof.opened({ checkpointIntervalMs, proofLifetimeMs, latestRevision: latest.revision });
        return;
      }
      case 'invalidation':
        this.#invalidate(event.cursor, event.tags);
        return;
      case 'checkpoint':
        if (this.#cursor?.journal !== event.cursor.journal) this.#forget(event.cursor);
        this.#advance(event.cursor);
        this.#proof.checkpoint(
          {
            revision: event.cursor.revision,
            serverTimeMs: event.serverTimeMs,
            provenThroughMs: event.provenThroughMs,
            degraded: event.degraded,
            degradedIssuers: event.degradedIssuers,
          },
          nowMs,
        );
        return;
      case 'reset':
        this.#forget(event.cursor);
        this.#proof.reset(event.cursor.revision);
        return;
      case 'disconnected':
        // The answers stay: if the next stream goes on after our cursor, nothing has been missed. They are not repeated meanwhile.
        this.#proof.closed();
        return;
    }
  }

  #invalidate(cursor: Cursor, tags: readonly bigint[]): void {
    this.#news += 1;
    if (this.#cursor?.journal !== cursor.journal) {
      this.#forget(cursor);
      return;
    }
    this.#answers.dropConcerned(tags, cursor.revision);
    // Below our position it has come again after a reconnect, and is remembered.
    if (cursor.revision < this.#cursor.revision) return;
    this.#history.push({ revision: cursor.revision, tags });
    this.#advance(cursor);
  }

  #advance(cursor: Cursor): void {
    if (this.#cursor === undefined || cursor.revision > this.#cursor.revision) this.#cursor = cursor;
  }

  #forget(cursor: Cursor): void {
    this.#answers.clear();
    this.#history.clear(cursor.revision);
    this.#cursor = cursor;
    this.#epoch += 1;
    this.#news += 1;
  }
}

/** W11: whether every invalidation that may concern this token passes the filter. */
function isInside(token: Token, filter: WatchFilter | undefined): boolean {
  if (filter === undefined) return true;
  // An invalidation of any of these users concerns the token, and passes only under its own name.
  const users = [token.user?.id, token.trust?.trustorUserId, token.trust?.trusteeUserId];
  return (
    isListed(token.issuer, filter.issuers) &&
    (isUnset(filter.userIds) || (users[0] !== undefined && users.every((user) => user === undefined || isListed(user, filter.userIds)))) &&
    isListed(token.scope.kind === 'project' ? token.scope.project.id : undefined, filter.projectIds)
  );
}

function isUnset(list: readonly string[] | undefined): boolean {
  return list === undefined || list.length === 0;
}

function isListed(value: string | undefined, list: readonly string[] | undefined): boolean {
  return list === undefined || list.length === 0 || (value !== undefined && list.includes(value));
}
