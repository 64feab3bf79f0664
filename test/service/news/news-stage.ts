// News over a whole service: a journal, who answers Validate, and two sources in a test's hands, on one fake clock.

import { setMaxListeners } from 'node:events';
import type { Entry } from '../../../src/core/invalidation.ts';
import { revision } from '../../../src/core/invalidation.ts';
import type { Journal, ProjectStanding } from '../../../src/ports.ts';
import type { Known } from '../../../src/service/known.ts';
import { NewsRoom } from '../../../src/service/news/news-room.ts';
import { createFakeClock, type FakeClock } from '../../fakes/clock.ts';
import { createFakeNewsSource, newsOf, revoking } from '../../fakes/news-source.ts';
import { createValidationStage, type StageOptions } from '../validation-stage.ts';

/** What differs from the usual: a bus, and a poll that can be asked. */
export interface NewsStageOptions extends StageOptions {
  readonly hasPoll?: boolean;
  readonly hasBus?: boolean;
  readonly project?: (id: string, signal: AbortSignal) => Promise<ProjectStanding>;
  readonly wideWindowMs?: number;
  readonly notes?: Pick<Journal, 'note' | 'noted'>;
  /** The bus is heard by one for all: how everything here comes into the log. */
  readonly toldAll?: () => Promise<void>;
}

export type NewsStage = Awaited<ReturnType<typeof createNewsStage>>;

/** Sets it: both sources run, and have proven nothing. Settle 2 s, a wide window of 30 s. */
export async function createNewsStage(options: NewsStageOptions = {}) {
  const { hasPoll = true, hasBus = true, project, wideWindowMs = 30_000, notes, toldAll, ...part } = options;
  const clock: FakeClock = part.before?.clock ?? part.clock ?? createFakeClock();
  let learn = (_known: Known): void => undefined;
  const stage = await createValidationStage({ clock, ...part, learned: (known) => learn(known) });
  const bus = createFakeNewsSource('bus');
  const poll = createFakeNewsSource('poll', { looks: true, monotonicMs: () => clock.monotonicMs() });
  const heard = toldAll ? { ...bus.source, hearsForAll: () => true } : bus.source;
  const sources = [...(hasBus ? [heard] : []), ...(hasPoll ? [poll.source] : [])];
  const end = new AbortController();
  setMaxListeners(0, end.signal);
  const offsets: (readonly [issuer: string, offsetMs: number])[] = [];
  const room = new NewsRoom([{ issuer: stage.central.issuer, sources, project }], {
    invalidations: stage.invalidations,
    degradations: stage.degradations,
    notes: notes ?? stage.journal,
    clock,
    telemetry: stage.telemetry,
    random: () => 0,
    settleMs: part.settleMs ?? 2_000,
    wideWindowMs,
    skewMs: 2_000,
    refreshLifeMs: 602_000,
    clockRead: ({ name }, offsetMs) => void offsets.push([name, offsetMs]),
    toldAll: toldAll ?? (async () => undefined),
    stop: end.signal,
  });
  learn = (known) => room.learned(known);
  const running = room.run();
  await clock.advance(0);

  return {
    ...stage,
    room,
    bus,
    poll,
    offsets,
    /** All live entries, oldest first. */
    entries: async (): Promise<readonly Entry[]> => (await stage.journal.read(revision(0), 100_000)).map(({ entry }) => entry),
    /** Tells; what comes of it is in `said`, once the clock has moved far enough. */
    tell(by: 'bus' | 'poll', ...[part]: Parameters<typeof newsOf>) {
      const seen: { said: 'nothing' | 'done' | unknown } = { said: 'nothing' };
      ({ bus, poll })[by].sink.tell(newsOf(part)).then(
        () => {
          seen.said = 'done';
        },
        (error: unknown) => {
          seen.said = error;
        },
      );
      return seen;
    },
    /** The event of a user's revocation, as the poll tells it. */
    userEvent: (userId: string, atMs = clock.nowMs()) => ({
      event: 'OS-REVOKE user_id',
      atMs,
      about: [userId],
      invalidations: [revoking([['user', userId]], Math.floor(atMs / 1000) * 1000)],
    }),
    /** The sources end; the rest goes on. */
    async end() {
      end.abort();
      await running;
    },
    async close() {
      end.abort();
      await running;
      await stage.close();
    },
  };
}
