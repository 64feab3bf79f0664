// What the upstreams of this room have in common.

import type { Clock, Logger, Upstream } from '../ports.ts';

/** What an upstream needs of the world. */
export interface UpstreamDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to below 1, for jitter. */
  readonly random?: () => number;
}

/** An upstream with connections of its own. */
export interface ConnectedUpstream extends Upstream {
  /** Ends them; running questions fail. */
  close(): Promise<void>;
}
