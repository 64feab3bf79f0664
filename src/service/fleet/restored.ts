// A journal that the log knows more of than it does itself: it was restored from a copy, or somebody else runs with one (S14).

import { appendedAtMsOf } from '../../core/entry-id.ts';
import type { Presence } from '../../core/fleet-record.ts';
import { revision } from '../../core/invalidation.ts';
import type { Clock, Journal, Telemetry } from '../../ports.ts';
import type { ReadEntry } from './reading.ts';

/** What it needs. */
export interface RestoredParts {
  readonly journal: Pick<Journal, 'id' | 'head' | 'find' | 'skipTo'>;
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly telemetry: Telemetry;
}

/** It goes on so far beyond what it has told of itself: cursors that it has given since the copy was made are behind whatever comes now. */
const skipped = 1_000_000;
/** What a process before this one has told last may come to the log so much later than what this one tells first, in milliseconds. */
const longestLateMs = 10_000;

/** Looks at what the log tells of this journal. */
export class Restored {
  readonly #parts: RestoredParts;
  readonly #headAtStart: number;
  /** Monotonic: when the first sign of life of this process had come back. What is read later was told while it runs. */
  #heardMs = Number.POSITIVE_INFINITY;
  #goesOnAt = 0;
  #saidTwin = false;

  constructor(parts: RestoredParts) {
    this.#parts = parts;
    this.#headAtStart = parts.journal.head();
  }

  /** Before these are appended: one of ours that is not here was made after the copy. */
  async before(entries: readonly ReadEntry[]): Promise<void> {
    const { journal, clock } = this.#parts;
    if (this.#goesOnAt > 0) return;
    const ours = entries.filter((entry) => entry.from === journal.id && forgottenAtMs(entry) > clock.nowMs());
    const found = await Promise.all(ours.map(({ id }) => journal.find(id)));
    if (found.includes(undefined)) await this.#goOn(journal.head());
  }

  /** One of this process has come back. */
  cameBack(): void {
    this.#heardMs = Math.min(this.#heardMs, this.#parts.clock.monotonicMs());
  }

  /** The log is read from the oldest once more: what processes before this one have told comes again. */
  readAgain(): void {
    this.#heardMs = Number.POSITIVE_INFINITY;
  }

  /** A sign of life of this journal, and not of this process. Whose clock is right is nothing that it goes by. */
  saw({ head }: Presence): void {
    const { journal, telemetry, clock } = this.#parts;
    if (clock.monotonicMs() > this.#heardMs + longestLateMs) {
      if (this.#saidTwin) return;
      this.#saidTwin = true;
      telemetry.log.error({ journal: journal.id }, 'another sidecar runs with a copy of this journal: give each a volume of its own');
    } else if (head > this.#headAtStart && head > this.#goesOnAt) {
      this.#goOn(head).catch((error: unknown) => telemetry.log.error({ error }, 'the journal cannot be written'));
    }
  }

  async #goOn(head: number): Promise<void> {
    const { journal, telemetry } = this.#parts;
    this.#goesOnAt = Math.max(head, journal.head()) + skipped;
    const facts = { headAtStart: this.#headAtStart, goesOnAt: this.#goesOnAt };
    telemetry.log.warn(facts, 'the journal was restored from a copy');
    await journal.skipTo(revision(this.#goesOnAt));
  }
}

/** Until then at least it was kept where it was made: whoever heard of it later may keep it for longer. */
function forgottenAtMs({ id, learnedAtMs, forgetAtMs }: ReadEntry): number {
  return (appendedAtMsOf(id) ?? 0) + forgetAtMs - learnedAtMs;
}
