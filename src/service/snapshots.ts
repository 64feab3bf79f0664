// Who is sent a snapshot: one subscriber at a time, and none that does not take it.

import { SidecarError } from '../core/errors.ts';
import type { Clock } from '../ports.ts';

/** A subscriber that takes nothing for so long keeps nobody else waiting, in milliseconds. */
const longestStallMs = 10_000;
const retryAfterMs = 1_000;

/** The right to be sent one. */
export interface Turn {
  /** Something was taken. Throws RESOURCE_EXHAUSTED / SNAPSHOT_LOST where another one has begun meanwhile, as nothing was for too long. */
  took(): void;
  end(): void;
}

/** All snapshots of this sidecar. */
export class Snapshots {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #running: { tookAtMs: number } | undefined;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Throws RESOURCE_EXHAUSTED / SNAPSHOT_UNDER_WAY where another one is sent. */
  begin(): Turn {
    const nowMs = this.#clock.monotonicMs();
    if (this.#running && nowMs - this.#running.tookAtMs < longestStallMs) {
      throw refused('another snapshot is being sent', 'SNAPSHOT_UNDER_WAY');
    }
    const mine = { tookAtMs: nowMs };
    this.#running = mine;
    return {
      took: () => {
        if (this.#running !== mine)
          throw refused(`nothing was taken for ${longestStallMs} ms, and another snapshot has begun`, 'SNAPSHOT_LOST');
        mine.tookAtMs = this.#clock.monotonicMs();
      },
      end: () => {
        if (this.#running === mine) this.#running = undefined;
      },
    };
  }
}

function refused(message: string, reason: string): SidecarError {
  return new SidecarError('RESOURCE_EXHAUSTED', message, { reason, retryAfterMs });
}
