// How many of each sidecar's records have been read: what the log had for sure, and did not give, was trimmed or lost (S14).

import type { Count } from '../../core/fleet-record.ts';

/** How far those of one run have been read. */
interface Seen {
  readonly link: number;
  readonly nth: number;
  /** The first of this connection that has not come; undefined: none is missing. It may never have got there. */
  readonly missing: number | undefined;
  /** How often something had been missed when it was heard of last. */
  readonly turn: number;
}

/** Beyond it those that were not heard of for longest are forgotten. */
const mostRuns = 100_000;

/** Of one reader, in the log's order. */
export class Counts {
  /** By run; the one that was heard of last stands last. */
  readonly #seen = new Map<string, Seen>();
  #turn = 0;

  /**
   * Whether something was appended before this record that the log had for sure, and that has not been read here. Of a run that was not
   * heard of before nobody knows; what was read already says nothing.
   */
  saw({ run, link, nth, sure, before }: Count): boolean {
    const heard = this.#seen.get(run);
    if (heard && (link < heard.link || (link === heard.link && nth <= heard.nth))) return false;
    const known = heard?.turn === this.#turn ? heard : undefined;
    const isNext = known !== undefined && link > known.link;
    const isBeforeLost = isNext && before !== undefined && before.sure >= (firstMissingIn(before.link, known) ?? Infinity);
    const at = isNext ? { link, nth: 0, missing: undefined } : known;
    const missing = at && (at.missing ?? (nth > at.nth + 1 ? at.nth + 1 : undefined));
    const isLost = isBeforeLost || (missing !== undefined && sure >= missing);
    this.#seen.delete(run);
    this.#seen.set(run, { link, nth, missing: isLost ? undefined : missing, turn: this.#turn });
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > mostRuns && oldest !== undefined) this.#seen.delete(oldest);
    return isLost;
  }

  /** That something was missed is said: what is missing of others until now is gone with it. What was read already still says nothing. */
  goOn(): void {
    this.#turn += 1;
  }

  /** It is another log, or read from another place on. */
  forget(): void {
    this.#seen.clear();
  }
}

/** Of one connection; undefined: it is over, and what was sure of it has been looked at. */
function firstMissingIn(link: number, known: Seen): number | undefined {
  if (link < known.link) return undefined;
  return link > known.link ? 1 : (known.missing ?? known.nth + 1);
}
