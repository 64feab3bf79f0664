// News in a whole sidecar: when it serves, what it says of its sources, and in which order it ends.

import { afterEach, describe, expect, test, vi } from 'vitest';
import { InactiveReason } from '../src/gen/sidegate/v1/token_service.ts';
import { createMemoryJournal } from '../src/journal/memory.ts';
import { createFakeClock } from './fakes/clock.ts';
import { createFakeIssuer } from './fakes/issuer.ts';
import { createFakeNewsSource, type FakeNewsSource, newsOf, revoking } from './fakes/news-source.ts';
import { type SidecarPlan, startSidecar, type TestSidecar } from './fakes/sidecar.ts';

const sidecars: TestSidecar[] = [];

afterEach(async () => {
  await Promise.all(sidecars.splice(0).map((sidecar) => sidecar.stop()));
});

async function started(plan: SidecarPlan = {}) {
  const clock = createFakeClock();
  const central = createFakeIssuer();
  central.knows('t', { token: { user: { id: 'u' } } });
  const sources = [createFakeNewsSource('bus'), createFakeNewsSource('poll', { looks: true })] as const;
  const sidecar = await startSidecar({
    fakes: [central],
    clock,
    news: { central: sources.map(({ source }) => source) },
    ...plan,
  });
  sidecars.push(sidecar);
  const prove = (...which: readonly FakeNewsSource[]): void => {
    for (const { sink } of which) sink.proven(clock.monotonicMs());
  };
  return { clock, central, sidecar, bus: sources[0], poll: sources[1], prove };
}

/** grpc.health.v1.Health/Check: the name is field 1, the status field 1 of the answer, 1 of which is SERVING. */
async function healthOf({ call }: TestSidecar, service = ''): Promise<'SERVING' | 'NOT_SERVING' | string> {
  const name = Buffer.from(service);
  const request = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
  const { status, response } = await call('/grpc.health.v1.Health/Check', request);
  return status !== 'OK' ? status : response?.[1] === 1 ? 'SERVING' : 'NOT_SERVING';
}

const readyOf = async ({ operations }: TestSidecar): Promise<number> => (await fetch(`http://${operations}/readyz`)).status;
const isServing = async (sidecar: TestSidecar): Promise<unknown> => [
  await healthOf(sidecar),
  await healthOf(sidecar, 'sidegate.v1.TokenService'),
  await readyOf(sidecar),
  (await sidecar.getStatus()).response?.serving,
];
const serving = ['SERVING', 'SERVING', 200, true];
const notServing = ['NOT_SERVING', 'NOT_SERVING', 503, false];
const said = (sidecar: TestSidecar, message: string): number =>
  sidecar.lines().filter((line) => String(line['message']).includes(message)).length;

describe('S13 before its news have caught up a sidecar', () => {
  test('answers at once, and does not serve before the last source has', async () => {
    const { sidecar, bus, poll, prove } = await started();
    expect(await isServing(sidecar)).toEqual(notServing);
    expect((await sidecar.validate({ token: 't' })).response?.active).toBe(true);
    prove(bus);
    expect(await isServing(sidecar)).toEqual(notServing);
    prove(poll);
    await vi.waitFor(async () => expect(await isServing(sidecar)).toEqual(serving));
    expect([said(sidecar, 'answering; not serving'), said(sidecar, 'serving')]).toEqual([1, 2]);
  });

  test('serves after 30 s without, and says so; what is answered then is degraded', async () => {
    const { sidecar, clock, bus, prove } = await started();
    prove(bus);
    await clock.advance(29_999);
    expect(await isServing(sidecar)).toEqual(notServing);
    await clock.advance(1);
    expect(await isServing(sidecar)).toEqual(serving);
    expect(said(sidecar, 'the news have not caught up')).toBe(1);
    const { response } = await sidecar.getStatus();
    expect(response?.degradations.map(({ issuer, reasons }) => [issuer, [...reasons].sort()])).toEqual([
      ['central', ['SOURCE_BEHIND(bus)', 'SOURCE_BEHIND(poll)']],
    ]);
  });

  test('that is told to stop never serves, and its sources end with it', async () => {
    const { sidecar, clock, bus, poll } = await started();
    expect([bus.isRunning, poll.isRunning]).toEqual([true, true]);
    sidecar.drain();
    // It waits for nothing by the clock that the test holds.
    await sidecar.stopped;
    await clock.advance(60_000);
    expect([bus.isRunning, poll.isRunning, said(sidecar, 'have not caught up')]).toEqual([false, false, 0]);
    expect(sidecar.lines().some((line) => line['message'] === 'serving')).toBe(false);
  });
});

test('S13 readiness never follows lag; the health of a source does', async () => {
  const { sidecar, clock, bus, poll, prove } = await started();
  prove(bus, poll);
  await vi.waitFor(async () => expect(await isServing(sidecar)).toEqual(serving));
  for (let second = 0; second < 60; second += 1) {
    prove(poll);
    await clock.advance(1_000);
  }
  expect(await isServing(sidecar)).toEqual(serving);
  expect(await Promise.all(['news/central/bus', 'news/central/poll'].map((name) => healthOf(sidecar, name)))).toEqual([
    'NOT_SERVING',
    'SERVING',
  ]);
});

test('a sidecar without news serves as soon as it answers', async () => {
  const { sidecar } = await started({ news: {} });
  expect(await isServing(sidecar)).toEqual(serving);
  expect(said(sidecar, 'answering; not serving')).toBe(0);
});

test('the status tells of each source what keeps it from telling', async () => {
  const { sidecar, poll, bus, prove } = await started();
  prove(bus, poll);
  poll.setHealth({ reachable: false, problem: 'our user needs the role "service"' });
  const dependencies = (await sidecar.getStatus()).response?.dependencies ?? [];
  expect(
    dependencies.filter(({ name }) => name.startsWith('news/')).map(({ name, reachable, problem }) => [name, reachable, problem]),
  ).toEqual([
    ['news/central/bus', true, ''],
    ['news/central/poll', false, 'our user needs the role "service"'],
  ]);
});

test('what a source tells is dead when its telling has resolved, and counted under its name', async () => {
  const { sidecar, poll, bus, prove, clock } = await started();
  prove(bus, poll);
  expect((await sidecar.validate({ token: 't' })).response?.active).toBe(true);
  await poll.sink.tell(newsOf({ atMs: clock.nowMs(), invalidations: [revoking([['user', 'u']], clock.nowMs())] }));
  expect((await sidecar.validate({ token: 't' })).response).toMatchObject({
    active: false,
    reason: InactiveReason.REVOKED,
  });
  expect(await sidecar.metrics()).toContain('sidegate_invalidations_total{source="central/poll",effect="revoke"} 1');
});

test('S1 a source whose clock is off makes its issuer degraded by that', async () => {
  const { sidecar, poll, bus, prove } = await started();
  prove(bus, poll);
  poll.sink.clockRead?.(60_000);
  expect((await sidecar.getStatus()).response?.degradations.map(({ reasons }) => reasons)).toEqual([['CLOCK']]);
  poll.sink.clockRead?.(0);
  expect((await sidecar.getStatus()).response?.degradations).toEqual([]);
});

test('adapters are told who we are, and where small values are kept, when the journal is open', async () => {
  const journal = createMemoryJournal({ clock: createFakeClock() });
  const given: unknown[] = [];
  await started({
    journal,
    onIssuer: ({ sidecar, notes, maxLagMs }) => void given.push([sidecar, notes === journal, maxLagMs]),
  });
  expect(given).toEqual([[{ name: 'test', journalId: journal.id }, true, 10_000]]);
});
