// A fleet whose members poll one Keystone: its list of revocation events, by its own clock, and who has asked.

import { SidecarError } from '../../../src/core/errors.ts';
import { createRevocationEvents } from '../../../src/news/keystone-revocation-events.ts';
import type { NewsSource } from '../../../src/ports.ts';
import { createFakeNewsSource, type FakeNewsSource, newsOf } from '../../fakes/news-source.ts';
import { isoOf } from '../../news/poll-stage.ts';
import { createStage, type Sidecar, type SidecarOptions, type SourceParts } from './stage.ts';

/** A question that it was asked. */
export interface Question {
  readonly by: string;
  readonly atMs: number;
  readonly sinceMs: number;
  /** It reaches back over a token's life. */
  readonly isSweep: boolean;
}

/** What differs from the usual. */
export interface MemberOptions extends SidecarOptions {
  /** False: it has no poll configured. */
  readonly polls?: boolean;
  /** It hears a bus too. */
  readonly bus?: boolean;
  readonly random?: () => number;
}

export type PollsStage = ReturnType<typeof createPollsStage>;

export const everyMs = 2_000;
/** How long Keystone takes for an answer. */
const answerMs = 30;

/** Nobody is there yet. What is random at a member is a sequence of its own, the same in each run. */
export function createPollsStage({ overlapMs = 60_000 } = {}) {
  const stage = createStage();
  const { clock } = stage;
  const asked: Question[] = [];
  const rows: Record<string, unknown>[] = [];
  const sources = new Map<string, NewsSource>();
  const buses: FakeNewsSource[] = [];
  const away = new Set<string>();
  let tookMs = answerMs;
  const slow = new Map<string, number>();
  let isTooLong: (question: Question) => boolean = () => false;

  const pollOf = (by: string, random: () => number, { clock: own, telemetry, journal, questions }: SourceParts): NewsSource => {
    const options = { issuer: 'central', everyMs, overlapMs, sweepMs: 600_000, reachMs: 3_600_000, factsLifeMs: 300_000 };
    const source = createRevocationEvents(options, {
      clock: own,
      log: telemetry.log,
      random,
      notes: journal,
      shared: { poll: questions.of('central', 'poll'), sweep: questions.of('central', 'sweep') },
      async list(sinceMs, signal) {
        const question = { by, atMs: clock.monotonicMs(), sinceMs, isSweep: sinceMs < clock.nowMs() - options.reachMs / 2 };
        asked.push(question);
        if (away.has(by)) throw new SidecarError('UNAVAILABLE', 'nobody answers', { reason: 'KEYSTONE_UNREACHABLE' });
        // As it stands when the question comes in.
        const events = rows.filter(({ revoked_at: at }) => Date.parse(String(at)) > sinceMs);
        const waitMs = slow.get(by) ?? tookMs;
        await clock.delay(waitMs, signal);
        if (isTooLong(question)) return { kind: 'too-large' };
        return { kind: 'events', events, dateMs: Math.floor((clock.nowMs() - waitMs) / 1000) * 1000 };
      },
    });
    sources.set(by, source);
    return source;
  };

  return {
    ...stage,
    asked,
    async start(name: string, options: MemberOptions = {}): Promise<Sidecar> {
      const { polls = true, bus = false, random = sequence(name), ...others } = options;
      const ear = createFakeNewsSource('bus');
      if (bus) buses.push(ear);
      return await stage.start(name, {
        ...others,
        sources: (parts) => [...(polls ? [pollOf(name, random, parts)] : []), ...(bus ? [ear.source] : [])],
      });
    },
    /** Keystone announces it, and every bus brings it at once. */
    announce(part: Parameters<typeof newsOf>[0]): void {
      const news = newsOf(part);
      for (const { sink } of buses) void sink.tell(news);
    },
    /** Every bus has told what it had until now. */
    proveBuses(): void {
      for (const { sink } of buses) sink.proven(clock.monotonicMs());
    },
    /** Polls, and not sweeps, of the time from `fromMs` on (monotonic). */
    polls: (fromMs = 0): readonly Question[] => asked.filter(({ atMs, isSweep }) => atMs >= fromMs && !isSweep),
    sweeps: (fromMs = 0): readonly Question[] => asked.filter(({ atMs, isSweep }) => atMs >= fromMs && isSweep),
    /** Keystone writes that all tokens of this user are dead, issued until now. */
    revokeThere(user: string): void {
      const at = isoOf(Math.floor(clock.nowMs() / 1000) * 1000);
      rows.push({ user_id: user, issued_before: at, revoked_at: at });
    },
    /** Wants one now; what comes of it. */
    look(name: string): { result: 'nothing' | 'done' | unknown } {
      const seen: { result: unknown } = { result: 'nothing' };
      sources
        .get(name)
        ?.look?.(new AbortController().signal)
        .then(
          () => {
            seen.result = 'done';
          },
          (error: unknown) => {
            seen.result = error;
          },
        );
      return seen;
    },
    healthOf: (name: string) => sources.get(name)?.health(),
    /** This one has no way to Keystone, until it is `back`. */
    cutOff: (name: string) => void away.add(name),
    back: (name: string) => void away.delete(name),
    /** Keystone takes so long for its answers: to everybody, or to this one alone. */
    slowDown(ms: number, by?: string) {
      if (by === undefined) tookMs = ms;
      else slow.set(by, ms);
    },
    listsTooLong(by: typeof isTooLong) {
      isTooLong = by;
    },
  };
}

/** From 0 to below 1, another one for each seed, the same in each run. */
function sequence(seed: string): () => number {
  let state = [...seed].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7);
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
