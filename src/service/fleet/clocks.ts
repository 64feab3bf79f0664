// Our wall clock against those of the fleet: off by more than the skew from most of them, it is ours that is wrong (S1).

import type { Presence } from '../../core/fleet-record.ts';
import type { Clock } from '../../ports.ts';
import { idOf, type Members } from './members.ts';

/** What clocks are compared with. */
export interface ClocksParts {
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly members: Pick<Members, 'isPresent'>;
  /** How far two clocks of hosts may be apart. */
  readonly skewMs: number;
  readonly maxLagMs: number;
  /** Is told again and again whether ours is off. */
  readonly judged: (isOff: boolean, details: ClockDifference) => void;
}

/** For the line that tells it. */
export interface ClockDifference {
  /** Theirs minus ours, of the middle one. */
  readonly offsetMs: number;
  /** Of so many whose clocks are known, from so many ours is off. */
  readonly known: number;
  readonly apart: number;
}

/** Another's clock, by the signs of life that were fresh when they were read. */
interface Heard {
  readonly journal: string;
  readonly run: string;
  readonly offsetMs: number;
  /** Undefined: not known yet. */
  readonly isApart: boolean | undefined;
  /** How often in succession it has looked ahead (or behind, below 0). */
  readonly inRow: number;
}

/** One that is late, or was told twice, says nothing: a clock is off when it has looked so as often as this, one after the other. */
const enoughInRow = 3;
/** Ours has been set, or the machine has slept, where the two clocks here have parted by more since our last sign of life came back. */
const steadyMs = 250;

/** The clocks of one fleet, as one member sees them. */
export class Clocks {
  readonly #parts: ClocksParts;
  /** By `idOf`. */
  readonly #heard = new Map<string, Heard>();
  /** When our own sign of life that came back last was appended, by both clocks: what stands behind it was appended later. */
  #own: { readonly monotonicMs: number; readonly wallMs: number } | undefined;

  constructor(parts: ClocksParts) {
    this.#parts = parts;
  }

  /** One of our own has come back. Cost: those who are there. */
  cameBack(appendedMs: number): void {
    const { clock, members, judged } = this.#parts;
    this.#own = { monotonicMs: appendedMs, wallMs: clock.nowMs() - (clock.monotonicMs() - appendedMs) };
    for (const [id, one] of this.#heard) if (!members.isPresent(one)) this.#heard.delete(id);
    const known = [...this.#heard.values()].filter(({ isApart }) => isApart !== undefined);
    const apart = known.filter(({ isApart }) => isApart).length;
    const offsets = known.map(({ offsetMs }) => offsetMs).sort((one, other) => one - other);
    const offsetMs = offsets[Math.floor(offsets.length / 2)] ?? 0;
    // From more than half of the others. So one that is off degrades itself alone; of two that differ nobody knows which, and both say so.
    judged(2 * apart > known.length, { offsetMs, known: known.length, apart });
  }

  /** Another's has been read. */
  saw({ journal, run, atMs, isLeaving }: Presence): void {
    const id = idOf({ journal, run });
    const before = this.#heard.get(id);
    if (isLeaving) this.#heard.delete(id);
    const looks = this.#looks(atMs);
    if (isLeaving || looks === undefined) return;
    const inRow = looks === 0 ? 0 : looks * (Math.sign(before?.inRow ?? 0) === looks ? Math.abs(before?.inRow ?? 0) + 1 : 1);
    const isApart = looks === 0 ? false : Math.abs(inRow) >= enoughInRow || before?.isApart;
    this.#heard.set(id, { journal, run, offsetMs: atMs - this.#parts.clock.nowMs(), isApart, inRow });
  }

  /**
   * 1: its clock is ahead, for it was appended before now. -1: behind, for it was appended after our own that came back last. 0: neither.
   * Undefined: nobody can tell, as what is read here is not what is told now.
   */
  #looks(atMs: number): -1 | 0 | 1 | undefined {
    const { clock, skewMs, maxLagMs } = this.#parts;
    if (this.#own === undefined) return undefined;
    const [nowMs, monotonicMs] = [clock.nowMs(), clock.monotonicMs()];
    const agoMs = monotonicMs - this.#own.monotonicMs;
    if (agoMs > maxLagMs / 2 || Math.abs(nowMs - this.#own.wallMs - agoMs) > steadyMs) return undefined;
    if (atMs - nowMs > skewMs) return 1;
    if (this.#own.wallMs - atMs > skewMs) return -1;
    return nowMs - atMs > skewMs ? undefined : 0;
  }
}
