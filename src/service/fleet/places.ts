// Where the log has been read to, noted now and then, a while late: what is read twice after a start is harmless, and tells who is there.

import { numberIn, objectIn, textIn } from '../../core/entry-record.ts';
import type { Clock, Journal } from '../../ports.ts';

/** A position, and the record there: in another log there is another one. */
export interface Place {
  readonly position: number;
  readonly digest: string;
}

/** What it needs. */
export interface PlacesParts {
  readonly journal: Pick<Journal, 'note' | 'noted'>;
  readonly clock: Clock;
  /** For so long after its last sign of life a member may be relied on: whoever starts has to read at least that far back, in milliseconds. */
  readonly leaseMs: number;
}

const note = 'fleet-read';
const noteEveryMs = 1_000;

/** Keeps one. */
export class Places {
  readonly #parts: PlacesParts;
  /** Since the one that is noted, each about a second after the one before. */
  #reached: { readonly place: Place; readonly atMs: number }[] = [];
  #last: Place | undefined;
  /** Not behind this, whatever is read; undefined with `isStopped`: not even the first record. */
  #stop: Place | undefined;
  #isStopped = false;
  #noted = '';

  constructor(parts: PlacesParts) {
    this.#parts = parts;
  }

  /** The last record that was read; undefined: from the oldest. */
  get last(): Place | undefined {
    return this.#last;
  }

  async load(): Promise<void> {
    this.#noted = (await this.#parts.journal.noted(note)) ?? '';
    this.#last = placeIn(this.#noted);
  }

  /** Everything up to there is durable here. */
  reached(place: Place): void {
    this.#last = place;
  }

  /** What stands behind `place` is to be read again after the next start; undefined: everything is. */
  stop(place: Place | undefined): void {
    if (this.#isStopped) return;
    this.#stop = place ?? this.#last;
    this.#isStopped = true;
  }

  /** What it stood before matters no more. */
  goOn(): void {
    this.#stop = undefined;
    this.#isStopped = false;
  }

  /** It is another log. */
  forget(): void {
    this.#last = undefined;
    this.goOn();
    this.#reached = [];
  }

  /** Notes it, until `signal` aborts and once more then. Never rejects: where nothing can be written, the journal says so itself. */
  async keep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#parts.clock.delay(noteEveryMs, signal).catch(() => undefined);
      const place = this.#toBeNoted();
      const text = place === undefined ? '' : JSON.stringify(place);
      if (place === 'as it is' || text === this.#noted) continue;
      await this.#parts.journal.note(note, text).then(
        () => {
          this.#noted = text;
        },
        () => undefined,
      );
    }
  }

  /** The newest that is old enough; none at all where the log is another one, and has not been read for so long. */
  #toBeNoted(): Place | undefined | 'as it is' {
    if (this.#isStopped) return this.#stop;
    if (this.#last === undefined) return undefined;
    const nowMs = this.#parts.clock.monotonicMs();
    if (this.#reached.at(-1)?.place !== this.#last) this.#reached.push({ place: this.#last, atMs: nowMs });
    const old = this.#reached.filter(({ atMs }) => nowMs - atMs >= this.#parts.leaseMs);
    // The first place of all: a start that knows of none would not notice that the log is another one.
    if (old.length === 0) return this.#noted === '' ? this.#reached[0]?.place : 'as it is';
    this.#reached = this.#reached.slice(old.length - 1);
    return old.at(-1)?.place;
  }
}

function placeIn(text: string): Place | undefined {
  if (text === '') return undefined;
  const fields = objectIn(JSON.parse(text));
  const position = numberIn(fields['position']);
  const digest = textIn(fields['digest']);
  return position === undefined || digest === undefined ? undefined : { position, digest };
}
