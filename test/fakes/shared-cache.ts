// A shared tier in memory, for several sidecars of one test: it forgets, breaks and counts on demand.

import type { Clock, SharedCache, SharedFinding } from '../../src/ports.ts';

/** What a SharedCache was asked to do. */
export type SharedOperation = 'get' | 'set' | 'add' | 'remove';

/** One question, as it was asked: also of those that found nobody. */
export interface SharedCall {
  readonly operation: SharedOperation;
  readonly name: string;
}

/** What stands in the place of the servers that sidecars share. */
export interface FakeSharedStore {
  /** The tier as one sidecar sees it; closing it leaves the others theirs. */
  open(): SharedCache;
  /** Every call since the start, oldest first. */
  readonly calls: readonly SharedCall[];
  /** How many calls there were, of this operation, under this name; of all where that is left out. */
  count(operation?: SharedOperation, name?: string): number;
  /** From now on nobody answers. What is stored stays. */
  isDown(): void;
  /** Undoes `isDown`. */
  isUp(): void;
  /** What is there from now on under `name` is nothing that a sidecar stored. */
  corrupt(name: string): void;
  /** As a restart of the servers. */
  forgetAll(): void;
  /** The names under which something is kept that has not ended, in the order in which they were stored. */
  names(): readonly string[];
  /** What is kept under `name`, as it was stored; undefined where nothing is, or nothing readable. */
  peek(name: string): Uint8Array | undefined;
}

interface Kept {
  /** Undefined: it cannot be read. */
  readonly value: Uint8Array | undefined;
  readonly endsAtMs: number;
}

const server = 'shared.test:11211';

/** An empty store; records end by `clock`'s wall time. `largestValueBytes`: 1 MiB less 1 KiB where it is left out. */
export function createFakeSharedStore(
  clock: Pick<Clock, 'nowMs'>,
  { largestValueBytes = 1024 ** 2 - 1024 }: { readonly largestValueBytes?: number } = {},
): FakeSharedStore {
  const kept = new Map<string, Kept>();
  const calls: SharedCall[] = [];
  let down = false;

  const alive = (name: string): Kept | undefined => {
    const found = kept.get(name);
    if (found !== undefined && found.endsAtMs <= clock.nowMs()) kept.delete(name);
    return kept.get(name);
  };
  const put = (name: string, value: Uint8Array, lifeMs: number): boolean => {
    if (!(lifeMs > 0) || value.length > largestValueBytes) return false;
    kept.set(name, { value: Uint8Array.from(value), endsAtMs: clock.nowMs() + lifeMs });
    return true;
  };

  return {
    calls,
    count: (operation, name) =>
      calls.filter((call) => (operation ?? call.operation) === call.operation && (name ?? call.name) === call.name).length,
    isDown() {
      down = true;
    },
    isUp() {
      down = false;
    },
    corrupt(name) {
      kept.set(name, { value: undefined, endsAtMs: Number.POSITIVE_INFINITY });
    },
    forgetAll() {
      kept.clear();
    },
    names: () => [...kept.keys()].filter((name) => alive(name) !== undefined),
    peek: (name) => alive(name)?.value,
    open() {
      let closed = false;
      // A question always takes a turn, as over a socket: who forgets to wait for it is found out.
      const asked = async (operation: SharedOperation, name: string): Promise<'up' | 'down'> => {
        calls.push({ operation, name });
        await Promise.resolve();
        return down || closed ? 'down' : 'up';
      };
      return {
        largestValueBytes,
        async get(name): Promise<SharedFinding> {
          if ((await asked('get', name)) === 'down') return { kind: 'unreachable' };
          const found = alive(name);
          if (found === undefined) return { kind: 'missing' };
          return found.value === undefined ? { kind: 'unreadable' } : { kind: 'found', value: Uint8Array.from(found.value) };
        },
        async set(name, value, lifeMs) {
          return (await asked('set', name)) === 'up' && put(name, value, lifeMs);
        },
        async add(name, value, lifeMs) {
          if ((await asked('add', name)) === 'down') return 'unreachable';
          if (alive(name) !== undefined) return 'exists';
          return put(name, value, lifeMs) ? 'added' : 'unreachable';
        },
        async remove(name) {
          if ((await asked('remove', name)) === 'down') return false;
          kept.delete(name);
          return true;
        },
        health: () => [
          { server, health: down || closed ? { reachable: false, problem: 'down' } : { reachable: true, lastAnswerAtMs: clock.nowMs() } },
        ],
        async close() {
          closed = true;
        },
      };
    },
  };
}
