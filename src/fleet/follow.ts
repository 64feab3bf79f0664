// The log of another sidecar's fleet, reached through that sidecar by mutual TLS: for edges without a broker.

import { backoff } from '../core/backoff.ts';
import type { Clock, DependencyHealth, Engine, LogLink } from '../ports.ts';
import { connectToUpstream, type UpstreamIdentity } from './follow-connection.ts';
import { createFollowLink } from './follow-link.ts';
import { noLog } from './log-error.ts';

/** Whom we follow, and who we are there. */
export interface FollowOptions extends UpstreamIdentity {
  readonly address: { readonly host: string; readonly port: number };
}

/** What it needs of the world. */
export interface FollowDeps {
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

const pauses = { firstMs: 500, longestMs: 10_000 } as const;

/**
 * The log that the upstream is a member of. Positions are those of that log: an upstream that is restarted, or another one of the same
 * fleet, has the same. Connects to nothing before `run`.
 */
export function createFollow(options: FollowOptions, deps: FollowDeps): Engine {
  const { clock, random = Math.random } = deps;
  let health: DependencyHealth = { reachable: false, problem: 'not connected yet' };
  let failures = 0;

  async function once(session: (link: LogLink) => Promise<void>, signal: AbortSignal): Promise<void> {
    const connection = await connectToUpstream(options, signal);
    const leave = (): void => void connection.fail(noLog(`${connection.upstream} was left`));
    signal.addEventListener('abort', leave, { once: true });
    try {
      if (signal.aborted) return;
      const heard = (): void => {
        health = { reachable: true, lastAnswerAtMs: clock.nowMs() };
      };
      heard();
      connection.signal.addEventListener('abort', () => ended(connection.signal.reason), { once: true });
      const stoodSinceMs = clock.monotonicMs();
      await session(createFollowLink(connection, heard)).finally(() => {
        if (clock.monotonicMs() - stoodSinceMs >= pauses.longestMs) failures = 0;
      });
      connection.signal.throwIfAborted();
    } catch (error) {
      // Whatever failed because the connection had ended says less than why it had.
      throw connection.signal.aborted ? connection.signal.reason : error;
    } finally {
      signal.removeEventListener('abort', leave);
      leave();
    }
  }

  const ended = (reason: unknown): void => {
    const { lastAnswerAtMs } = health;
    const problem = reason instanceof Error ? reason.message : 'unknown';
    health = { reachable: false, problem, ...(lastAnswerAtMs !== undefined && { lastAnswerAtMs }) };
  };

  return {
    name: 'follow',
    async run(session, signal) {
      while (!signal.aborted) {
        try {
          await once(session, signal);
          ended(noLog('the log was left'));
        } catch (error) {
          ended(error);
        }
        failures += 1;
        // Rejects at the end, which the loop sees.
        await clock.delay(backoff(pauses, failures, random), signal).catch(() => undefined);
      }
    },
    health: () => health,
  };
}
