// News on their way to whoever keeps them: told until they are kept, each once, however often it is delivered.

import { backoff } from '../../core/backoff.ts';
import type { Clock, News, NewsSink } from '../../ports.ts';

/** What keeping needs. */
export interface KeepingParts {
  readonly clock: Clock;
  readonly sink: NewsSink;
  /** The end: what is not kept by then will be delivered again to somebody. */
  readonly signal: AbortSignal;
  readonly random: () => number;
}

/** The journal may have failed; then it takes a restart. */
const pauses = { firstMs: 500, longestMs: 30_000 } as const;
/** Ids of news that were kept: duplicates come soon after. */
const longestMemory = 4_096;
/** News that are being told: four times what a connection delivers ahead. */
export const mostAtOnce = 1_024;

/** Outlives connections, as the telling does: news that a new connection delivers again are still the same. */
export class Keeping {
  readonly #parts: KeepingParts;
  readonly #underWay = new Map<string, Promise<void>>();
  readonly #kept = new Set<string>();
  #problem: string | undefined;

  constructor(parts: KeepingParts) {
    this.#parts = parts;
  }

  /** What keeps news from being kept, for people. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Whether no more can be told at once. */
  get isFull(): boolean {
    return this.#underWay.size >= mostAtOnce;
  }

  /** Resolves when they are kept. Rejects only at the end. */
  async keep(news: News): Promise<void> {
    const { sink } = this.#parts;
    const underWay = this.#underWay.get(news.id);
    if (underWay !== undefined || this.#kept.has(news.id)) {
      sink.ignored('duplicate');
      await underWay;
      return;
    }
    const telling = this.#tell(news).finally(() => this.#underWay.delete(news.id));
    this.#underWay.set(news.id, telling);
    await telling;
  }

  async #tell(news: News): Promise<void> {
    const { clock, sink, signal, random } = this.#parts;
    for (let failures = 1; ; failures += 1) {
      signal.throwIfAborted();
      try {
        await sink.tell(news);
        this.#problem = undefined;
        this.#remember(news.id);
        return;
      } catch (error) {
        this.#problem = `what it told could not be kept: ${error instanceof Error ? error.message : 'unknown'}`;
        await clock.delay(backoff(pauses, failures, random), signal);
      }
    }
  }

  #remember(id: string): void {
    this.#kept.add(id);
    if (this.#kept.size <= longestMemory) return;
    const [oldest] = this.#kept;
    if (oldest !== undefined) this.#kept.delete(oldest);
  }
}
