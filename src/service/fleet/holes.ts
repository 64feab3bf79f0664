// What in the log cannot be read here, and may be an invalidation: it is held for as long as it may matter (S14).

import type { OpenedRecord } from '../../core/fleet-record.ts';
import type { Tagger } from '../../core/tag.ts';
import type { Clock, Telemetry } from '../../ports.ts';
import { keysOf } from '../key-notes.ts';

/** What they are told by. */
export interface HolesParts {
  readonly tagger: Pick<Tagger, 'keyIds'>;
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly telemetry: Telemetry;
  /** How long an entry may matter, in milliseconds. */
  readonly retentionMs: number;
  /** Labels of keys: records under them are nobody's, an operator says. */
  readonly ignoredKeys: readonly string[];
}

/** Clocks of machines differ, and records are read late. */
const longestSlackMs = 60_000;

/** Those of one log. */
export class Holes {
  readonly #parts: HolesParts;
  /** Monotonic: until then something that was read and not understood may matter. */
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(parts: HolesParts) {
    this.#parts = parts;
  }

  get isOpen(): boolean {
    return this.#parts.clock.monotonicMs() < this.#untilMs;
  }

  /** Nobody here can tell what it is about: its key is not here, or that of the fingerprint in it. */
  isOne(record: OpenedRecord): boolean {
    const { ignoredKeys, clock, tagger } = this.#parts;
    if (record.kind === 'unknown-key') return !ignoredKeys.includes(record.label);
    if (record.kind !== 'entry' || record.entry.selector.kind !== 'fit') return false;
    const { selector, forgetAtMs } = record.entry;
    if (forgetAtMs < clock.nowMs()) return false;
    const isByName = selector.conditions.some(({ dimension }) => dimension === 'fingerprint');
    return isByName && keysOf(record.entry).every((id) => !tagger.keyIds.includes(id));
  }

  /** One has been read, at `position`. */
  found(hole: OpenedRecord, position: number | undefined): void {
    const { clock, retentionMs, telemetry } = this.#parts;
    const isFirst = !this.isOpen;
    this.#untilMs = clock.monotonicMs() + retentionMs + longestSlackMs;
    if (!isFirst) return;
    const key = hole.kind === 'unknown-key' ? { label: hole.label } : {};
    const why = 'it holds records under a deployment key that is not here: add the key, and restart';
    telemetry.log.error({ why, position, ...key }, 'the log of the fleet cannot be read whole');
  }

  /** It is read from the oldest once more: where it is still there it is found again. */
  forget(): void {
    this.#untilMs = Number.NEGATIVE_INFINITY;
  }
}
