// A clock that moves only when a test moves it.

import type { Clock } from '../../src/ports.ts';

/** A Clock whose hands a test holds. */
export interface FakeClock extends Clock {
  /**
   * Moves both clocks on by `ms` and wakes the delays that end by then, in the order of their ends, each at its own moment.
   * After each wake it lets pending promises settle, so that a loop that delays again within `ms` is woken again.
   * Resolves when nothing more is due. Not to be called again before it has resolved.
   */
  advance(ms: number): Promise<void>;
  /** Moves the wall clock alone, in milliseconds, as a clock that is set does; wakes nobody. */
  stepWall(ms: number): void;
  /** Moves both clocks on by `ms` and wakes nobody: what a process finds that was stopped, at its first look. */
  jump(ms: number): void;
  /** How many delays are waiting. */
  waiting(): number;
}

interface Sleeper {
  readonly endsAtMs: number;
  readonly wake: () => void;
}

/** A fake clock. `nowMs`: the wall time it starts at, in milliseconds since the epoch. The monotonic clock starts at 1,000. */
export function createFakeClock(nowMs: number = Date.UTC(2026, 10, 21, 10, 0, 0)): FakeClock {
  let wallMs = nowMs;
  let elapsedMs = 1_000;
  const sleepers = new Set<Sleeper>();

  function moveTo(nextMs: number): void {
    wallMs += nextMs - elapsedMs;
    elapsedMs = nextMs;
  }

  return {
    nowMs: () => wallMs,
    monotonicMs: () => elapsedMs,
    delay: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) {
          reject(signal.reason);
          return;
        }
        const leave = (): void => {
          sleepers.delete(sleeper);
          reject(signal.reason);
        };
        const sleeper: Sleeper = {
          endsAtMs: elapsedMs + Math.max(0, ms),
          wake: () => {
            sleepers.delete(sleeper);
            signal.removeEventListener('abort', leave);
            resolve();
          },
        };
        signal.addEventListener('abort', leave, { once: true });
        sleepers.add(sleeper);
      }),
    async advance(ms) {
      const endMs = elapsedMs + ms;
      await settle();
      for (let next = earliest(sleepers); next !== undefined && next.endsAtMs <= endMs; next = earliest(sleepers)) {
        moveTo(Math.max(elapsedMs, next.endsAtMs));
        next.wake();
        await settle();
      }
      moveTo(endMs);
    },
    stepWall(ms) {
      wallMs += ms;
    },
    jump(ms) {
      moveTo(elapsedMs + ms);
    },
    waiting: () => sleepers.size,
  };
}

// The first of those that end together is the one that began to wait first: a Set keeps its order.
function earliest(sleepers: Iterable<Sleeper>): Sleeper | undefined {
  let first: Sleeper | undefined;
  for (const sleeper of sleepers) {
    if (first === undefined || sleeper.endsAtMs < first.endsAtMs) first = sleeper;
  }
  return first;
}

// Two turns of the loop: what a woken task does, and what waited for that task.
async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}
