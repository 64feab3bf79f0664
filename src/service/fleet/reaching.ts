// How far an entry has gone, each step beyond the one before (S14).

import type { Revision } from '../../core/invalidation.ts';
import type { Clock } from '../../ports.ts';
import type { Members } from './members.ts';
import type { Mending } from './mending.ts';
import type { Publishing } from './publishing.ts';
import type { RollCalls } from './roll-calls.ts';

/** How far; when; and who, of all who are there, is not known to have applied it. */
export interface Reached {
  readonly reach: 'sidecar' | 'shared' | 'fleet';
  readonly atMs: number;
  readonly lagging: readonly string[];
}

/** What it goes by. */
export interface ReachingParts {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly members: Pick<Members, 'present'>;
  readonly publishing: Pick<Publishing, 'told' | 'hasTold'>;
  readonly mending: Pick<Mending, 'whole' | 'isWhole' | 'generation'>;
  readonly rollCalls: Pick<RollCalls, 'roll'>;
}

/** What is asked of one sidecar about its own entries. */
export class Reaching {
  readonly #parts: ReachingParts;

  constructor(parts: ReachingParts) {
    this.#parts = parts;
  }

  /** As `Fleet.reach`. */
  async reach(wanted: Revision, until: 'shared' | 'fleet', signal: AbortSignal): Promise<Reached> {
    const { mending, rollCalls } = this.#parts;
    for (;;) {
      const isShared = await this.#isShared(wanted, signal);
      if (!isShared) return this.#now('sidecar', until === 'fleet' ? this.#others() : []);
      const shared = this.#now('shared', []);
      if (until === 'shared') return shared;
      const { generation } = mending;
      const left = await rollCalls.roll(signal);
      // Where the log was made again meanwhile it may not hold what it held, and whoever has answered may have read another one.
      if (mending.generation !== generation && !signal.aborted) continue;
      return left?.length === 0 ? this.#now('fleet', []) : { ...shared, lagging: left ?? this.#others() };
    }
  }

  async #isShared(wanted: Revision, signal: AbortSignal): Promise<boolean> {
    const { publishing, mending } = this.#parts;
    try {
      await publishing.told(wanted, signal);
      await mending.whole(signal);
      return true;
    } catch (error) {
      if (!signal.aborted) throw error;
      return publishing.hasTold(wanted) && mending.isWhole;
    }
  }

  #now(reach: Reached['reach'], lagging: readonly string[]): Reached {
    return { reach, atMs: this.#parts.clock.nowMs(), lagging };
  }

  #others(): readonly string[] {
    return this.#parts.members.present().map(({ name }) => name);
  }
}
