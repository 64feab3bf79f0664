// Asking everybody whether all that stands before the question is applied there.

import { randomBytes } from 'node:crypto';
import type { Clock } from '../../ports.ts';
import { Wakeup } from '../wakeup.ts';
import { idOf, type Member, type Members } from './members.ts';
import { endingWith } from './together.ts';

/** What a call needs. */
export interface RollCallsParts {
  readonly members: Members;
  readonly clock: Clock;
  /** A sign of life is wanted soon: it carries what is called. */
  readonly hurry: () => void;
}

/** Between two looks at the leases. */
const shortestLookMs = 10;
const longestLookMs = 1_000;

interface RollCall {
  name: string;
  /** By `idOf`. Undefined: it has not come back yet, so nobody knows who was there before it. */
  missing: Map<string, Member> | undefined;
  callers: number;
}

/** All calls that are not answered yet, and that somebody waits for. */
export class RollCalls {
  readonly #parts: RollCallsParts;
  readonly #changed = new Wakeup();
  readonly #called = new Map<string, RollCall>();
  /** Not called yet, or in vain. */
  #next: RollCall[] = [];

  constructor(parts: RollCallsParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when everybody has applied what was in the log before this was called, or does not let itself be relied on any more; at the
   * latest when `signal` aborts. With the names of those of whom neither is known; undefined: not even who they are.
   */
  async roll(signal: AbortSignal): Promise<readonly string[] | undefined> {
    // Whoever asks before it is called shares it.
    const call = this.#next[0] ?? { name: newName(), missing: undefined, callers: 0 };
    if (this.#next.length === 0) this.#next.push(call);
    call.callers += 1;
    this.#parts.hurry();
    try {
      for (;;) {
        const seen = this.#changed.version;
        const left = this.#missingIn(call);
        if (left?.length === 0) return [];
        if (signal.aborted) return left?.map(({ name }) => name);
        await this.#wait(seen, signal);
      }
    } finally {
      call.callers -= 1;
      if (call.callers === 0) this.#forget(call);
    }
  }

  /** What the sign of life that is made now calls. */
  take(): readonly string[] {
    const calls = this.#next;
    this.#next = [];
    for (const call of calls) this.#called.set(call.name, call);
    return calls.map(({ name }) => name);
  }

  /** Our own calls have come back: whoever was there before them is to answer. */
  cameBack(names: readonly string[]): void {
    for (const name of names) {
      const call = this.#called.get(name);
      if (call) call.missing ??= new Map(this.#parts.members.present().map((member) => [idOf(member), member]));
    }
    if (names.length > 0) this.#changed.wake();
  }

  /** A member has answered. */
  answered(member: Pick<Member, 'journal' | 'run'>, names: readonly string[]): void {
    const id = idOf(member);
    let isLast = false;
    for (const name of names) {
      const missing = this.#called.get(name)?.missing;
      if (missing?.delete(id) && missing.size === 0) isLast = true;
    }
    // Nobody looks through all who are missing at each of so many answers.
    if (isLast) this.#changed.wake();
  }

  /** Somebody has left. */
  left(): void {
    this.#changed.wake();
  }

  /** The connection has ended: what was called over it and has not come back may never have got there. */
  lost(): void {
    for (const call of this.#called.values()) if (call.missing === undefined) this.#next.push(call);
    for (const call of this.#next) {
      this.#called.delete(call.name);
      // Under another name: it may be in the log all the same, and what is answered there says nothing of what was told after it.
      call.name = newName();
    }
  }

  #missingIn({ missing }: RollCall): readonly Member[] | undefined {
    const { members } = this.#parts;
    return missing && [...missing.values()].filter((member) => members.isPresent(member));
  }

  async #wait(seen: number, signal: AbortSignal): Promise<void> {
    const { members, clock } = this.#parts;
    // The end of a lease wakes nobody.
    const leaseMs = Math.min(longestLookMs, Math.max(shortestLookMs, members.nextEndMs() - clock.monotonicMs()));
    try {
      await endingWith([signal], (over) => Promise.race([this.#changed.wait(seen, over.signal), clock.delay(leaseMs, over.signal)]));
    } catch (error) {
      // Only the caller ends the wait early.
      if (!signal.aborted) throw error;
    }
  }

  #forget(call: RollCall): void {
    this.#called.delete(call.name);
    this.#next = this.#next.filter((one) => one !== call);
  }
}

function newName(): string {
  return randomBytes(8).toString('hex');
}
