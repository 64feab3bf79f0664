// A log that says nothing where it was read to: it ends before that, unless it is slow (S14).

import { expect, it } from 'vitest';
import { digestOfRecord } from '../../../src/core/fleet-record.ts';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import type { LogLink } from '../../../src/ports.ts';
import { Reading } from '../../../src/service/fleet/reading.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { createFakeTelemetry } from '../../fakes/telemetry.ts';

it.each([
  ['a log that takes 100 ms to append is another one when it has been silent for 5 s', 100, ['anew']],
  ['one that takes 2 s is not', 2_000, []],
])('%s', async (_what, tookMs, how) => {
  const clock = createFakeClock();
  const journal = createMemoryJournal({ clock });
  const bytes = Buffer.from('the record that was read last');
  await journal.note('fleet-read', JSON.stringify({ position: 7, digest: digestOfRecord(bytes) }));
  const noticed: string[] = [];
  const ignore = (): void => undefined;
  const reading = new Reading({
    journal,
    clock,
    telemetry: createFakeTelemetry(),
    invalidations: { receive: async () => 0 },
    tagger: { keyIds: [] },
    keys: [],
    leaseMs: 20_000,
    retentionMs: 86_400_000,
    ignoredKeys: [],
    isOfNow: () => false,
    listener: {
      before: async () => undefined,
      notTheSame: (what) => noticed.push(what),
      ...{ read: ignore, presence: ignore, polled: ignore, missed: ignore, hole: ignore },
    },
  });
  await reading.load();
  const end = new AbortController();
  const link: LogLink = {
    signal: end.signal,
    append: async () => undefined,
    // What is there comes eight seconds after the reading stands.
    async read(from, take, stop) {
      await take([]);
      await clock.delay(8_000, stop).catch(ignore);
      if (!stop.aborted) await take([{ position: from ?? 7, bytes }]);
      await clock.delay(3_600_000, stop).catch(ignore);
    },
  };
  const running = reading.run(link, () => ({ atMs: 1_000, tookMs }), end.signal);
  await clock.advance(9_000);
  expect(noticed).toEqual(how);
  end.abort();
  await clock.advance(1_000);
  await running;
});
