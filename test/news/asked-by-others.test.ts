// What another sidecar has asked Keystone about is not asked about again: it may be answered as it was then.

import { expect, it } from 'vitest';
import { createRevocationEvents } from '../../src/news/keystone-revocation-events.ts';
import type { HeardQuestion, SharedQuestion } from '../../src/ports.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { createRecordingSink } from './recording-sink.ts';

it('a second that another has asked about is left out', async () => {
  const clock = createFakeClock();
  const asked: number[] = [];
  let tell: (question: HeardQuestion) => void = () => undefined;
  const poll: SharedQuestion = {
    others: () => 1,
    isCurrent: () => true,
    hasTold: () => true,
    begin: () => () => undefined,
    listen: (take) => {
      tell = take;
    },
  };
  const sweep: SharedQuestion = { ...poll, listen: () => undefined };
  const options = {
    issuer: 'central',
    everyMs: 2_000,
    overlapMs: 60_000,
    sweepMs: 600_000,
    reachMs: 3_600_000,
    factsLifeMs: 300_000,
  };
  const source = createRevocationEvents(options, {
    clock,
    log: createFakeTelemetry().log,
    random: () => 0,
    list: async (sinceMs) => {
      asked.push(sinceMs);
      return { kind: 'events', events: [], dateMs: clock.nowMs() };
    },
    notes: { note: async () => undefined, noted: async () => undefined },
    shared: { poll, sweep },
  });
  const stop = new AbortController();
  const running = source.run(createRecordingSink(), stop.signal);
  await clock.advance(10);
  const polls = asked.length;
  const nextMs = Math.floor(clock.nowMs() / 1_000) * 1_000 - 60_000;
  // It proves nothing to us: it leaves out what we have not been told.
  const nowMs = clock.monotonicMs();
  tell({
    fromMs: clock.nowMs() + 1,
    throughMs: clock.nowMs() + 1,
    sinceMs: nextMs,
    beganMs: nowMs,
    tookMs: 0,
    isOfNow: true,
    isSuspect: false,
  });
  await clock.advance(2_000);
  expect(asked[polls]).toBe(nextMs - 1_000);
  stop.abort();
  await running;
});
