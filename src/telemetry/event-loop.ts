// How late the event loop is: Node's own sampling, folded into a histogram of ours whenever somebody scrapes.

import { monitorEventLoopDelay } from 'node:perf_hooks';

// Milliseconds between samples: as long as what is promised for a call.
const resolutionMs = 10;

/** A sampling of the event loop. */
export interface EventLoopDelay {
  /** Hands over what was sampled since the last call, two turns of the loop from now. */
  fold(): Promise<void>;
  stop(): void;
}

/**
 * Starts sampling. `observe` is told each sample, in seconds, at `fold`. Node keeps quantiles, not samples: each sample is told as the
 * quantile above it (at 50, 75, 87.5 … %), so that no delay is told smaller than it was, and the largest is exact.
 */
export function sampleEventLoop(observe: (seconds: number) => void): EventLoopDelay {
  const sampled = monitorEventLoopDelay({ resolution: resolutionMs });
  sampled.enable();
  return {
    async fold() {
      // After the timers of the next turn: a delay that is just over is sampled only there, and `reset` would lose it.
      for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
      const { count } = sampled;
      let told = 0;
      for (const [percent, nanoseconds] of count === 0 ? [] : sampled.percentiles) {
        // What is recorded is the time between two samples, which is `resolutionMs` when nothing was late.
        const seconds = Math.max(0, nanoseconds / 1e9 - resolutionMs / 1e3);
        for (const upTo = Math.round((count * percent) / 100); told < upTo; told++) observe(seconds);
      }
      sampled.reset();
    },
    stop: () => void sampled.disable(),
  };
}
