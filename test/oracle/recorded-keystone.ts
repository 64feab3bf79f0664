// Recorded rows played again without servers: two sidecars' flows, a near cache, and a Keystone that answers, announces and lists as the real one did.

import { SidecarError } from '../../src/core/errors.ts';
import { readKeystoneToken } from '../../src/keystone/token-body.ts';
import { readKeystoneMessage } from '../../src/news/keystone-envelope.ts';
import { newsOf } from '../../src/news/keystone-messages.ts';
import { createRevocationEvents } from '../../src/news/keystone-revocation-events.ts';
import type { NewsSink, NewsSource, ProjectStanding } from '../../src/ports.ts';
import type { FakeClock } from '../fakes/clock.ts';
import { createFakeIssuer, type FakeIssuer } from '../fakes/issuer.ts';
import type { RecordedRow, RecordedVerdict } from './recording.ts';

/** The Keystone of a recording. */
export interface RecordedKeystone {
  /** What it says of a token, for the issuer `central` of each sidecar. */
  issuer(): FakeIssuer;
  /** Who tells of what happens there, for one sidecar: the bus, the poll, or both. */
  sources(which: Sources, clock: FakeClock): { readonly sources: readonly NewsSource[]; readonly bus: RecordedBus };
  project(id: string): Promise<ProjectStanding>;
  /** From now on it says this of a token. */
  says(token: string, verdict: RecordedVerdict): void;
  /** From now on it lists these events too, and its projects stand as they did after `row`. */
  listed(row: RecordedRow): void;
}

/** Which sources are heard. */
export type Sources = 'both' | 'bus' | 'poll';

/** One sidecar's queue. */
export interface RecordedBus {
  /** Delivers a message; answers whether everything that was delivered has been told by now. */
  deliver(body: string): void;
  /** How many messages are being told. */
  readonly telling: number;
}

/** As `poll` is configured by default. */
export const pollEveryMs = 2000;

/** Makes one that has said nothing yet. */
export function recordedKeystone(): RecordedKeystone {
  const verdicts = new Map<string, RecordedVerdict>();
  const events: object[] = [];
  const projects = new Map<string, RecordedRow['projects'][string]>();
  return {
    issuer() {
      const fake = createFakeIssuer({ hasCatalogs: false, expiredWithinMs: 172_800_000 });
      fake.script((raw, _signal, options) => {
        const verdict = verdicts.get(raw);
        if (verdict === undefined) throw new SidecarError('UNAVAILABLE', `nothing is recorded of ${raw}`, { reason: 'BAD_ANSWER' });
        if ('status' in verdict) return { kind: 'inactive', reason: 'REFUSED' };
        return readKeystoneToken(Buffer.from(JSON.stringify({ token: verdict.body })), 'central', options);
      });
      return fake;
    },
    sources(which, clock) {
      const bus = recordedBus(clock);
      const poll = createRevocationEvents(
        {
          issuer: 'central',
          everyMs: pollEveryMs,
          overlapMs: 60_000,
          sweepMs: 600_000,
          reachMs: 300_000_000,
          factsLifeMs: 300_000,
        },
        {
          clock,
          log: { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined },
          random: () => 0,
          list: async (sinceMs) => ({
            kind: 'events',
            events: events.filter((event) => revokedAtMs(event) > sinceMs),
            dateMs: clock.nowMs(),
          }),
          notes: { note: async () => undefined, noted: async () => undefined },
        },
      );
      return { bus, sources: [...(which === 'poll' ? [] : [bus.source]), ...(which === 'bus' ? [] : [poll])] };
    },
    async project(id) {
      const standing = projects.get(id);
      if (standing === undefined) return { kind: 'unknown', problem: 'nothing is recorded of it' };
      if (standing === null) return { kind: 'refused' };
      const { enabled, domainId } = standing;
      return { kind: enabled ? 'enabled' : 'disabled', ...(domainId !== undefined && { domainId }) };
    },
    says: (token, verdict) => void verdicts.set(token, verdict),
    listed(row) {
      events.push(...row.events);
      for (const [id, standing] of Object.entries(row.projects)) projects.set(id, standing);
    },
  };
}

function revokedAtMs(event: object): number {
  return Date.parse(String((event as { readonly revoked_at?: unknown }).revoked_at));
}

/** A bus that loses nothing: what it has told it proves, each second. */
function recordedBus(clock: FakeClock): RecordedBus & { readonly source: NewsSource } {
  let sink: NewsSink | undefined;
  let telling = 0;
  const waiting: string[] = [];
  const tell = async (body: string): Promise<void> => {
    const message = readKeystoneMessage(Buffer.from(body));
    if (message === undefined) {
      sink?.ignored('unreadable');
      void sink?.gap('a message cannot be read');
      return;
    }
    const news = newsOf(message);
    if (news === undefined) return sink?.ignored('irrelevant');
    telling += 1;
    await sink?.tell(news);
    telling -= 1;
  };
  const source: NewsSource = {
    name: 'bus',
    async run(its, signal) {
      sink = its;
      for (const body of waiting.splice(0)) void tell(body);
      while (!signal.aborted) {
        // What is told waits for the end of settle windows: it is not late, it is under way. Here everything is told at once.
        sink.proven(clock.monotonicMs());
        await clock.delay(1000, signal).catch(() => undefined);
      }
    },
    health: () => ({ reachable: true }),
  };
  return {
    source,
    get telling() {
      return telling;
    },
    deliver(body) {
      if (sink === undefined) waiting.push(body);
      else tell(body).catch(() => undefined);
    },
  };
}
