// Where the log has been read to, noted now and then: what is read twice after a crash is harmless.

import { numberIn, objectIn, textIn } from '../../core/entry-record.ts';
import type { Clock, Journal } from '../../ports.ts';

/** A position, and the record there: in another log there is another one. */
export interface Place {
  readonly position: number;
  readonly digest: string;
}

const note = 'fleet-read';
const noteEveryMs = 1_000;

/** Keeps one. */
export class Places {
  readonly #parts: { readonly journal: Pick<Journal, 'note' | 'noted'>; readonly clock: Clock };
  #last: Place | undefined;
  /** Not behind this, whatever is read; undefined with `isStopped`: not even the first record. */
  #stop: Place | undefined;
  #isStopped = false;
  #noted = '';

  constructor(parts: { readonly journal: Pick<Journal, 'note' | 'noted'>; readonly clock: Clock }) {
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

  /** It is another log. */
  forget(): void {
    this.#last = undefined;
    this.#stop = undefined;
    this.#isStopped = false;
  }

  /** Notes it, until `signal` aborts and once more then. Never rejects: where nothing can be written, the journal says so itself. */
  async keep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#parts.clock.delay(noteEveryMs, signal).catch(() => undefined);
      const place = this.#isStopped ? this.#stop : this.#last;
      const text = place === undefined ? '' : JSON.stringify(place);
      if (text === this.#noted) continue;
      await this.#parts.journal.note(note, text).then(
        () => {
          this.#noted = text;
        },
        () => undefined,
      );
    }
  }
}

function placeIn(text: string): Place | undefined {
  if (text === '') return undefined;
  const fields = objectIn(JSON.parse(text));
  const position = numberIn(fields['position']);
  const digest = textIn(fields['digest']);
  return position === undefined || digest === undefined ? undefined : { position, digest };
}
