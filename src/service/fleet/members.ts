// Who is in the fleet: by their signs of life, and until when each of them lets itself be relied on.

import type { Presence } from '../../core/fleet-record.ts';
import type { Clock } from '../../ports.ts';

/** Another sidecar, as far as it has told. */
export interface Member {
  readonly journal: string;
  readonly name: string;
  /** Of this one process of it. */
  readonly run: string;
  /** Of its last sign of life; the time by its own wall clock. */
  readonly turn: number;
  readonly atMs: number;
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
  /** By journal and run. */
  readonly #members = new Map<string, Member>();
  /** By journal: of several runs the one that began last, as far as its clock tells. */
  readonly #newest = new Map<string, Member>();

  constructor(parts: MembersParts) {
    this.#parts = parts;
  }

  /**
   * A sign of life of another has been read. False: it says nothing, as a later one of the same run has been read already. A log may tell
   * one twice, and whoever writes to it may tell an old one once more: that ends no other run.
   */
  saw({ journal, name, run, turn, atMs, isWhole, isLeaving }: Presence): boolean {
    const id = idOf({ journal, run });
    const known = this.#members.get(id);
    if (known !== undefined && turn <= known.turn) return false;
    const newest = this.#newest.get(journal);
    // Its process has ended without a word. One whose clock was set back meanwhile is not taken for it: both are there then.
    if (newest !== undefined && newest.run !== run && atMs > newest.atMs) this.#forget(newest);
    // In the order in which they were heard of: the first is the one that ends first.
    if (known) this.#forget(known);
    if (isLeaving) return true;
    const member = { journal, name, run, turn, atMs, readMs: this.#parts.clock.monotonicMs(), isWhole };
    this.#members.set(id, member);
    if (!this.#newest.has(journal)) this.#newest.set(journal, member);
    const [oldest] = this.#members.values();
    if (this.#members.size > mostMembers && oldest !== undefined) this.#forget(oldest);
    return true;
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
  isPresent(member: Pick<Member, 'journal' | 'run'>): boolean {
    this.#forgetEnded();
    return this.#members.has(idOf(member));
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
      this.#forget(member);
    }
  }

  #forget(member: Member): void {
    this.#members.delete(idOf(member));
    if (this.#newest.get(member.journal) === member) this.#newest.delete(member.journal);
  }
}

/** Tells one process of a sidecar from every other. */
export function idOf({ journal, run }: Pick<Member, 'journal' | 'run'>): string {
  return `${journal} ${run}`;
}
