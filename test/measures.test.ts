// What is looked at of a running sidecar: how current its news are, for health, metrics and the status.

import { setMaxListeners } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { defaultConfig } from '../src/config/load.ts';
import { createTagger, type DeploymentKey } from '../src/core/tag.ts';
import { createFlows, type Flows } from '../src/flows.ts';
import { createMemoryJournal } from '../src/journal/memory.ts';
import { measure, observe } from '../src/measures.ts';
import type { Engine } from '../src/ports.ts';
import { statusOf } from '../src/rpc/status.ts';
import { SharedQuestions } from '../src/service/fleet/shared-questions.ts';
import type { SourceStanding } from '../src/service/source-standing.ts';
import { createInstruments } from '../src/telemetry/instruments.ts';
import { documentsOf, each, said } from './deploy/manifests.ts';
import { createFakeClock, type FakeClock } from './fakes/clock.ts';
import { createFakeLog } from './fakes/engine.ts';
import { createFakeIssuer } from './fakes/issuer.ts';
import { createFakeTelemetry, type FakeTelemetry } from './fakes/telemetry.ts';

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

interface Stage {
  readonly clock: FakeClock;
  readonly telemetry: FakeTelemetry;
  readonly flows: Flows;
  readonly bus: SourceStanding;
  /** By name, as it was told last. */
  readonly health: ReadonlyMap<string, boolean>;
}

/** A sidecar with one issuer, whose bus and poll tell it news; `max_lag` is 10 s. */
async function stageOf(engine?: Engine): Promise<Stage> {
  const clock = createFakeClock();
  const telemetry = createFakeTelemetry();
  const journal = createMemoryJournal({ clock });
  const keys: readonly [DeploymentKey] = [{ id: 'k', secret: Buffer.alloc(32, 1) }];
  const config = { ...defaultConfig(), maxLagMs: 10_000 };
  const draining = new AbortController();
  const issuers = [createFakeIssuer().issuer];
  const parts = {
    config,
    clock,
    telemetry,
    keys,
    tagger: createTagger(keys),
    issuers,
    journal,
    shared: undefined,
    engine,
    retentionMs: 0,
    name: 'a',
    questions: new SharedQuestions({ clock, skewMs: 2_000, maxLagMs: 10_000 }),
  };
  const flows = createFlows({ ...parts, news: [], draining: draining.signal, stopping: draining.signal });
  await flows.invalidations.load();
  measure(flows, telemetry, clock);
  const bus = flows.degradations.addSource({ issuer: 'central', name: 'bus' });
  for (const source of [bus, flows.degradations.addSource({ issuer: 'central', name: 'poll' })]) source.proven(clock.monotonicMs());
  const health = new Map<string, boolean>();
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal);
  const tellHealth = (name: string, isWell: boolean): void => void health.set(name, isWell);
  const observing = observe(flows, { telemetry, clock, tellHealth }, stopping.signal);
  ends.push(async () => {
    stopping.abort();
    await observing;
  });
  return { clock, telemetry, flows, bus, health };
}

it('S13 a source has a health service of its own, which follows its lag, and the issuer’s does not', async () => {
  const { clock, bus, health } = await stageOf();
  expect([...health]).toEqual([
    ['issuer/central', true],
    ['news/central/bus', true],
    ['news/central/poll', true],
  ]);
  await clock.advance(9000);
  bus.proven(clock.monotonicMs());
  await clock.advance(2000);
  expect([...health]).toEqual([
    ['issuer/central', true],
    ['news/central/bus', true],
    ['news/central/poll', false],
  ]);
});

it('S13 lag that nobody asks about is logged within a second, and measured by its cause', async () => {
  const { clock, telemetry } = await stageOf();
  const degraded = (cause: string): number | undefined => telemetry.gaugeValue('sidegate_degraded', { cause });
  await clock.advance(10_000);
  expect(['SOURCE_BEHIND', 'GAP'].map(degraded)).toEqual([0, 0]);
  await clock.advance(1000);
  // The first four are of the start: behind, and then not.
  expect(telemetry.lines.slice(4).map(({ level, fields }) => [level, fields['reason']])).toEqual([
    ['warn', 'SOURCE_BEHIND(bus)'],
    ['warn', 'SOURCE_BEHIND(poll)'],
  ]);
  expect(['CLOCK', 'STALE_FACTS', 'SOURCE_BEHIND', 'SOURCE_SUSPECT', 'GAP'].map(degraded)).toEqual([0, 0, 1, 0, 0]);
});

it('S13 the status tells every source, and which issuers are degraded, why and since when', async () => {
  const { clock, flows, bus } = await stageOf();
  const startMs = clock.nowMs();
  await clock.advance(1000);
  bus.proven(clock.monotonicMs());
  bus.broughtNews(startMs + 500);
  bus.gapUntil(clock.monotonicMs() + 60_000);
  await clock.advance(500);
  const told = await statusOf({ ...flows, name: 's', version: '1', startedAtMs: startMs, serving: () => true, memoryBytes: 1 });
  expect(told).toMatchObject({
    degraded: true,
    sources: [
      {
        name: 'central/bus',
        lastAliveAt: new Date(startMs + 1000),
        lastNewsAt: new Date(startMs + 500),
        degradedSince: new Date(startMs + 1000),
      },
      { name: 'central/poll', lastAliveAt: new Date(startMs), lastNewsAt: undefined, degradedSince: undefined },
    ],
    degradations: [{ issuer: 'central', reasons: ['GAP'], since: new Date(startMs + 1000) }],
  });
});

it('what should never be counted is there from 0 on: a series that begins with its first count would not have increased for any alert', async () => {
  const [alerts] = documentsOf('deploy/prometheus/alerts.yaml');
  const rules = each(alerts?.['groups']).flatMap((group) => each(group['rules']));
  const increases = rules.flatMap(({ expr }) => [...said(expr).matchAll(/increase\((\w+)(?:\{([^}]*)\})?\[/g)]);
  expect(increases.length).toBeGreaterThan(5);
  const clock = createFakeClock();
  const { flows } = await stageOf(createFakeLog(clock).engine());
  const instruments = createInstruments();
  measure(flows, { ...createFakeTelemetry(), ...instruments }, clock);

  const zeros = (await instruments.metrics()).split('\n').filter((line) => line.endsWith(' 0'));
  const missing = increases.filter(([, name, labels = '']) => !zeros.some((line) => line.startsWith(`${name}{`) && line.includes(labels)));
  // These are bound by whoever counts them, when that is made.
  expect(new Set(missing.map(([, name]) => name))).toEqual(new Set(['sidegate_upstream_forwarded_total', 'sidegate_cache_lookups_total']));
});
