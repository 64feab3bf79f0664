// The answers of a near cache, bounded, and found by their tags.

import { LRUCache } from 'lru-cache';
import type { ActiveAnswer } from './answer.ts';

/** An answer that may be repeated. */
export interface KeptAnswer {
  readonly answer: ActiveAnswer;
  readonly tags: readonly bigint[];
  /** By the local clock that never steps; exclusive. */
  readonly untilMs: number;
}

/** At most `maxEntries` answers; one more puts out the one that was not used for longest. */
export class TaggedAnswers {
  readonly #answers: LRUCache<string, KeptAnswer>;
  readonly #keysByTag = new Map<bigint, Set<string>>();

  constructor(maxEntries: number) {
    this.#answers = new LRUCache({ max: maxEntries, dispose: (kept, key) => this.#unlist(key, kept.tags) });
  }

  get size(): number {
    return this.#answers.size;
  }

  get(key: string): KeptAnswer | undefined {
    return this.#answers.get(key);
  }

  set(key: string, kept: KeptAnswer): void {
    this.#answers.delete(key);
    this.#answers.set(key, kept);
    for (const tag of kept.tags) {
      const keys = this.#keysByTag.get(tag);
      if (keys === undefined) this.#keysByTag.set(tag, new Set([key]));
      else keys.add(key);
    }
  }

  delete(key: string): void {
    this.#answers.delete(key);
  }

  clear(): void {
    this.#answers.clear();
  }

  /**
   * Drops every answer decided before `revision` that has every one of `tags` (none: all). Answers how many.
   * Cost: the answers of the rarest of the tags.
   */
  dropConcerned(tags: readonly bigint[], revision: number): number {
    let dropped = 0;
    for (const key of [...this.#candidates(tags)]) {
      const kept = this.#answers.peek(key);
      if (kept !== undefined && kept.answer.asOf.revision < revision && fits(tags, kept.tags)) {
        this.#answers.delete(key);
        dropped += 1;
      }
    }
    return dropped;
  }

  #candidates(tags: readonly bigint[]): Iterable<string> {
    if (tags.length === 0) return this.#answers.keys();
    let rarest: ReadonlySet<string> | undefined;
    for (const tag of tags) {
      const keys = this.#keysByTag.get(tag);
      if (keys === undefined) return [];
      if (rarest === undefined || keys.size < rarest.size) rarest = keys;
    }
    return rarest ?? [];
  }

  #unlist(key: string, tags: readonly bigint[]): void {
    for (const tag of tags) {
      const keys = this.#keysByTag.get(tag);
      keys?.delete(key);
      if (keys?.size === 0) this.#keysByTag.delete(tag);
    }
  }
}

/** Whether an invalidation with `wanted` concerns an answer with `tags`: it has every one of them. */
export function fits(wanted: readonly bigint[], tags: readonly bigint[]): boolean {
  return wanted.every((tag) => tags.includes(tag));
}
