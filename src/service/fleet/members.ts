// Who is in the fleet: by their signs of life, and until when each of them lets itself be relied on.

import type { Presence } from '../../core/fleet-record.ts';
import type { Clock } from '../../ports.ts';

/** Another sidecar, as far as it has told. */
export interface Member {
  readonly journal: string;
  readonly name: string;
  /** Of this one process of it. */
  readonly run: string;
  /** Monotonic, here: when its last sign of life was read. It was made before. */
  readonly readMs: number;
  readonly isWhole: boolean;
}

/** What members are judged by. */
export interface MembersParts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** How long a sidecar lets itself be relied on after its last sign of life that has come back to it, in milliseconds. */
  readonly leaseMs: number;
}

/** Clocks of two machines may run apart by so much: a thousandth is ten times what any does. */
const clockRate = 1.001;
/** Beyond it those that were not heard of for longest are forgotten. */
const mostMembers = 100_000;

/** All others whose lease has not ended. */
export class Members {
  readonly #parts: MembersParts;
  readonly #members = new Map<string, Member>();

  constructor(parts: MembersParts) {
    this.#parts = parts;
  }

  /** A sign of life of another has been read. */
  saw({ journal, name, run, isWhole, isLeaving }: Presence): void {
    // In the order in which they were heard of: the first is the one that ends first.
    this.#members.delete(journal);
    if (isLeaving) return;
    this.#members.set(journal, { journal, name, run, readMs: this.#parts.clock.monotonicMs(), isWhole });
    const [oldest] = this.#members.keys();
    if (this.#members.size > mostMembers && oldest !== undefined) this.#members.delete(oldest);
  }

  /** Those who may be relied on by somebody now. */
  present(): readonly Member[] {
    this.#forgetEnded();
    return [...this.#members.values()];
  }

  /** How many, without itself. */
  get count(): number {
    this.#forgetEnded();
    return this.#members.size;
  }

  /**
   * Whether it is one of them, in the same process. One that is not answers nobody without saying that it is degraded; one that has been
   * started anew has read everything from before.
   */
  isPresent({ journal, run }: Member): boolean {
    this.#forgetEnded();
    return this.#members.get(journal)?.run === run;
  }

  /** When the lease of the one ends that ends first, monotonic; Infinity: there is nobody. */
  nextEndMs(): number {
    const [oldest] = this.#members.values();
    return oldest === undefined ? Infinity : this.#endOf(oldest);
  }

  #endOf({ readMs }: Member): number {
    return readMs + this.#parts.leaseMs * clockRate;
  }

  #forgetEnded(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    for (const member of this.#members.values()) {
      if (nowMs < this.#endOf(member)) return;
      this.#members.delete(member.journal);
    }
  }
}
