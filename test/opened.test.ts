// How a sidecar's parts are closed: in the reverse order, each within its time, whatever the others do.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createMemoryJournal } from '../src/journal/memory.ts';
import { Opened } from '../src/opened.ts';
import type { Journal } from '../src/ports.ts';
import { createSidecar } from '../src/sidecar.ts';
import { createFakeClock } from './fakes/clock.ts';
import { createFakeTelemetry } from './fakes/telemetry.ts';
import { journalWith, stageConfig } from './rpc/watch-stage.ts';

const never = (): Promise<never> => new Promise(() => undefined);

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

function build() {
  const clock = createFakeClock();
  const telemetry = createFakeTelemetry();
  const opened = new Opened(clock, telemetry.log);
  const closed: string[] = [];
  const keep = (name: string): void => {
    opened.keep(name, name, async () => void closed.push(name));
  };
  const said = () => telemetry.lines.map(({ level, fields }) => [level, fields['what']]);
  return { clock, opened, closed, keep, said };
}

describe('what is open', () => {
  it('is closed in the reverse order of opening, once, and leaves no delay behind', async () => {
    const { clock, opened, closed, keep, said } = build();
    for (const name of ['telemetry', 'journal', 'listeners']) keep(name);
    await opened.close();
    await opened.close();
    expect([closed, said(), clock.waiting()]).toEqual([['listeners', 'journal', 'telemetry'], [], 0]);
  });

  it('is closed although something before it fails, and that is said', async () => {
    const { opened, closed, keep, said } = build();
    keep('telemetry');
    opened.keep({}, 'later', () => Promise.reject(new Error('no')));
    opened.keep({}, 'at once', () => {
      throw new Error('no');
    });
    await opened.close();
    expect([closed, said()]).toEqual([
      ['telemetry'],
      [
        ['error', 'at once'],
        ['error', 'later'],
      ],
    ]);
  });

  it.each([
    ['five seconds', undefined, 5000],
    ['the time that it has', 20_000, 20_000],
  ])('is left as it is after %s, and that is said', async (_, longestMs, limitMs) => {
    const { clock, opened, closed, keep, said } = build();
    keep('telemetry');
    opened.keep({}, 'journal', never, longestMs);
    const done = opened.close();
    await clock.advance(limitMs - 1);
    expect([closed, said()]).toEqual([[], []]);
    await clock.advance(1);
    await done;
    expect([closed, said()]).toEqual([['telemetry'], [['error', 'journal']]]);
  });

  it('is closed at once where everything is closed already', async () => {
    const { opened, closed, keep } = build();
    await opened.close();
    expect(() => keep('late')).toThrow(expect.objectContaining({ code: 'CANCELLED', reason: 'STOPPED' }));
    expect(closed).toEqual(['late']);
  });
});

describe('a sidecar whose journal hangs', () => {
  function sidecarWith(changes: Partial<Journal>) {
    const dir = mkdtempSync(join(tmpdir(), 'sidegate-hangs-'));
    closing.push(() => rmSync(dir, { recursive: true, force: true }));
    const clock = createFakeClock();
    const journal = journalWith(createMemoryJournal({ clock }), changes);
    const lines: string[] = [];
    const config = { ...stageConfig(dir), issuers: [] };
    const adapters = { journal: async () => journal };
    const sidecar = createSidecar({ config, clock, adapters, destination: { write: (line: string) => lines.push(line) } });
    return { sidecar, clock, lines };
  }

  it('stops all the same, and says what it has left', async () => {
    const { sidecar, clock, lines } = sidecarWith({ close: never });
    const end = new AbortController();
    const { stopped, operations } = await sidecar.start(end.signal);
    let isStopped = false;
    void stopped.then(() => {
      isStopped = true;
    });
    end.abort();
    // The listeners close by the sockets' own time.
    while (!lines.some((line) => line.includes('does not close'))) {
      expect(isStopped).toBe(false);
      expect((await fetch(`http://${operations}/readyz`)).status).toBe(503);
      await clock.advance(1000);
    }
    await stopped;
    expect(lines.filter((line) => line.includes('does not close') && line.includes('"journal"')).length).toBe(1);
    await expect(fetch(`http://${operations}/readyz`)).rejects.toThrow();
  });

  it('can be stopped while it loads', async () => {
    let begin = (): void => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const read = (): Promise<never> => {
      begin();
      return never();
    };
    const { sidecar, clock } = sidecarWith({ read });
    const end = new AbortController();
    const starting = sidecar.start(end.signal);
    await begun;
    end.abort();
    const failed = expect(starting).rejects.toMatchObject({ code: 'CANCELLED', reason: 'STOPPED' });
    await clock.advance(5000);
    await failed;
  });

  it('is not told to stop by anything but its signal', async () => {
    let go = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const { sidecar, clock } = sidecarWith({ noted: async () => void (await gate) as undefined });
    const end = new AbortController();
    const starting = sidecar.start(end.signal);
    await clock.advance(60_000);
    go();
    const { stopped } = await starting;
    end.abort();
    await stopped;
  });
});
