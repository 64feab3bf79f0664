// What one connection to Keystone's bus needs, and what outlives it.

import type { Clock, Logger, NewsSink } from '../../ports.ts';
import type { Continuity } from './continuity.ts';
import type { Keeping } from './keeping.ts';
import type { Markers } from './markers.ts';
import type { BusPlace } from './queue.ts';

/** What outlives the connection, and what a session needs. */
export interface SessionParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly sink: NewsSink;
  readonly place: BusPlace;
  /** Of the queue that outlives connections. */
  readonly queueName: string;
  readonly maxLagMs: number;
  readonly keeping: Keeping;
  readonly markers: Markers;
  readonly continuity: Continuity;
  /**
   * `mayWrite` to Keystone's exchange: until it is refused. `queue`: the last one that was read. `hears`: of one that is shared, whether we
   * are who reads it.
   */
  readonly known: { mayWrite: boolean; queue: string | undefined; hears: () => boolean };
  /** What keeps the bus from being heard though RabbitMQ answers; undefined: nothing. */
  readonly say: (problem: string | undefined) => void;
}

/** Between two proofs. */
export const proofEveryMs = 1_000;
/** A marker that has not come by then, though nothing waits in the queue, was never there; in a cluster it may take its time. */
export const lostAfterMs = 3_000;
/** Messages that are told at once. */
export const prefetch = 256;
