// S13: what is answered about an issuer whose news may have been missed, by each policy.

import { afterEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import type { DegradedPolicy } from '../../src/service/degradation.ts';
import type { Answer } from '../../src/service/question.ts';
import type { SourceStanding } from '../../src/service/source-standing.ts';
import { createFakeIssuer, type FactsSaid } from '../fakes/issuer.ts';
import { createRegion } from './sidecars.ts';
import { createValidationStage, type StageOptions, settled, type ValidationStage, verdict } from './validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

interface Stage extends ValidationStage {
  readonly bus: SourceStanding;
}

/** `central` has a bus, which has proven everything until now; `max_lag` is 10 s. */
async function stageOf(whenDegraded: DegradedPolicy, options: StageOptions = {}): Promise<Stage> {
  const stage = await createValidationStage({ whenDegraded, ...options });
  ends.push(() => stage.close());
  const bus = stage.degradations.addSource({ issuer: 'central', name: 'bus' });
  bus.proven(stage.clock.monotonicMs());
  return { ...stage, bus };
}

const alice: FactsSaid = { token: { user: { id: 'alice' }, scope: { kind: 'project', project: { id: 'shop', isDomain: false } } } };
const behind = 'SOURCE_BEHIND(bus)';

const outcome = (call: Promise<Answer>): Promise<string> =>
  call.then(
    (answer) => [verdict(answer), answer.provenance, ...answer.degradedBy].filter(Boolean).join(' '),
    (error: unknown) => (error instanceof SidecarError ? `${error.code} ${error.reason}` : String(error)),
  );

describe.each(['refuse', 'revalidate', 'serve-marked'] as const)('S13 when_degraded: %s', (policy) => {
  it('changes nothing while the news are current', async () => {
    const stage = await stageOf(policy);
    stage.central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(10_000);
    const answer = await stage.ask('t');
    expect([answer.provenance, answer.degradedBy]).toEqual(['MEMORY', []]);
    expect(answer.maxAgeMs).toBe(290_000);
  });

  it('is not about a clock that is off', async () => {
    const stage = await stageOf(policy);
    stage.central.knows('t', alice);
    await stage.ask('t');
    stage.degradations.clockDiffers('central', 'authority', true);
    await stage.clock.advance(9000);
    expect(await outcome(stage.ask('t'))).toBe('active MEMORY CLOCK');
  });

  it('does not concern issuers whose news are current, or that have none', async () => {
    const [central, corp] = [createFakeIssuer({ prefix: 'c_' }), createFakeIssuer({ name: 'corp', prefix: 'j_', provenance: 'signature' })];
    const stage = await stageOf(policy, { issuers: [central, corp] });
    corp.knows('j_t');
    await stage.ask('j_t');
    await stage.clock.advance(60_000);
    expect(stage.degradations.by('central')).toEqual([behind]);
    const answer = await stage.ask('j_t');
    expect([answer.provenance, answer.degradedBy, answer.maxAgeMs > 0]).toEqual(['MEMORY', [], true]);
  });

  it('answers what is dead by the journal, or by itself', async () => {
    const stage = await stageOf(policy);
    stage.central.knows('revoked', alice);
    stage.central.knows('ended', { token: { ...alice.token, expiresAtMs: stage.clock.nowMs() + 5000 } });
    for (const raw of ['revoked', 'ended']) await stage.ask(raw);
    await stage.revokeToken('revoked');
    await stage.revokeToken('unseen');
    await stage.clock.advance(11_000);
    const asked = stage.central.reads.length;
    expect(await outcome(stage.ask('revoked'))).toBe(`REVOKED MEMORY ${behind}`);
    expect(await outcome(stage.ask('ended'))).toBe(`EXPIRED MEMORY ${behind}`);
    expect(await outcome(stage.ask('unseen'))).toBe('REVOKED');
    expect(await outcome(stage.ask('naïve'))).toBe('MALFORMED');
    expect(stage.central.reads).toHaveLength(asked);
  });
});

describe('S13 revalidate', () => {
  it('facts of the last 5 s serve, older ones are confirmed first; marked, and never to be repeated', async () => {
    const stage = await stageOf('revalidate');
    stage.central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(10_001);
    const answer = await stage.ask('t');
    expect(answer).toMatchObject({ provenance: 'AUTHORITY', degradedBy: [behind], maxAgeMs: 0 });
    await stage.clock.advance(5000);
    expect(await outcome(stage.ask('t'))).toBe(`active MEMORY ${behind}`);
    await stage.clock.advance(1);
    expect(await outcome(stage.ask('t'))).toBe(`active AUTHORITY ${behind}`);
    stage.bus.proven(stage.clock.monotonicMs());
    await stage.clock.advance(9000);
    expect(await outcome(stage.ask('t'))).toBe('active MEMORY');
    expect(stage.central.reads).toHaveLength(3);
  });

  it('who has died meanwhile is refused', async () => {
    const stage = await stageOf('revalidate');
    stage.central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(10_001);
    stage.central.refuses('t');
    expect(await outcome(stage.ask('t'))).toBe('REFUSED');
  });

  it('what cannot be confirmed serves until its time, marked, and not where a precise REFRESH or a REVOKE covers it', async () => {
    const stage = await stageOf('revalidate');
    for (const raw of ['t', 'refreshed', 'dead']) stage.central.knows(raw, { token: { ...alice.token, user: { id: raw } } });
    for (const raw of ['t', 'refreshed', 'dead']) await stage.ask(raw);
    await stage.refreshUser('refreshed');
    await stage.revokeToken('dead');
    stage.central.isDown();
    await stage.clock.advance(10_001);
    expect(await outcome(stage.ask('t'))).toBe(`active MEMORY ${behind}`);
    expect(await outcome(stage.ask('refreshed'))).toBe('UNAVAILABLE UPSTREAM_DOWN');
    expect(await outcome(stage.ask('dead'))).toBe(`REVOKED MEMORY ${behind}`);
    await stage.clock.advance(300_000 - 10_001);
    expect(await outcome(stage.ask('t'))).toBe('UNAVAILABLE UPSTREAM_DOWN');
  });

  it('takes half of the queue: what finds no room serves at once', async () => {
    const central = createFakeIssuer({ calls: { deadlineMs: 5000, concurrency: 1, queue: 2 } });
    const stage = await stageOf('revalidate', { issuers: [central] });
    for (const raw of ['a', 'b', 'c', 'stranger']) central.knows(raw, alice);
    for (const raw of ['a', 'b', 'c']) await stage.ask(raw);
    await stage.clock.advance(10_001);
    const held = central.hold();
    const calls = ['a', 'b', 'c'].map((raw) => outcome(stage.ask(raw)));
    expect(await calls[2]).toBe(`active MEMORY ${behind}`);
    const stranger = outcome(stage.ask('stranger'));
    await settled();
    held.all();
    expect(await Promise.all([calls[0], calls[1], stranger])).toEqual(Array(3).fill(`active AUTHORITY ${behind}`));
  });

  it('a machine that has slept confirms before its first answer, although its facts are young by its own clock', async () => {
    const stage = await stageOf('revalidate');
    stage.central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(2000);
    stage.bus.proven(stage.clock.monotonicMs());
    stage.clock.stepWall(3_600_000);
    expect(await outcome(stage.ask('t'))).toBe(`active AUTHORITY ${behind}`);
  });

  it('facts of the shared tier count by their age as ever', async () => {
    for (const { ageMs, from } of [
      { ageMs: 3000, from: 'SHARED' },
      { ageMs: 3001, from: 'AUTHORITY' },
    ]) {
      const region = await createRegion({ skews: [0, 0] });
      ends.push(() => region.close());
      region.central.knows('t', alice);
      region.second.degradations.addSource({ issuer: 'central', name: 'bus' });
      await region.clock.advance(20_000);
      await region.first.ask('t');
      await settled();
      await region.clock.advance(ageMs);
      const call = outcome(region.second.ask('t'));
      await settled();
      await region.clock.advance(500);
      expect(await call).toBe(`active ${from} ${behind}`);
    }
  });

  it('facts that another sidecar has kept are confirmed after a start, until the news of before it have come', async () => {
    const region = await createRegion({ skews: [0, 0] });
    ends.push(() => region.close());
    region.central.knows('t', alice);
    await region.first.ask('t');
    await settled();
    region.central.refuses('t');
    await region.clock.advance(200_000);
    region.second.degradations.addSource({ issuer: 'central', name: 'bus' });
    const call = outcome(region.second.ask('t'));
    await settled();
    await region.clock.advance(500);
    expect(await call).not.toContain('active SHARED');
  });

  it('a gap, and a source that is suspect, are reasons like any other', async () => {
    const stage = await stageOf('revalidate');
    stage.central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(6000);
    stage.bus.suspect(true);
    expect(await outcome(stage.ask('t'))).toBe('active AUTHORITY SOURCE_SUSPECT(bus)');
    await stage.clock.advance(6000);
    stage.bus.proven(stage.clock.monotonicMs());
    stage.bus.suspect(false);
    stage.bus.gapUntil(stage.clock.monotonicMs() + 1000);
    expect(await outcome(stage.ask('t'))).toBe('active AUTHORITY GAP');
    await stage.clock.advance(6000);
    expect(await outcome(stage.ask('t'))).toBe('active MEMORY');
  });

  it('facts by a signature cannot be confirmed: they serve, marked', async () => {
    const central = createFakeIssuer({ provenance: 'signature' });
    const stage = await stageOf('revalidate', { issuers: [central] });
    central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(60_000);
    expect(await outcome(stage.ask('t'))).toBe(`active MEMORY ${behind}`);
  });
});

describe('S13 serve_marked', () => {
  it('facts serve as long as ever, marked, and never to be repeated', async () => {
    const stage = await stageOf('serve-marked');
    stage.central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(299_999);
    expect(await stage.ask('t')).toMatchObject({ decision: { active: true }, provenance: 'MEMORY', degradedBy: [behind], maxAgeMs: 0 });
    await stage.clock.advance(1);
    expect(await outcome(stage.ask('t'))).toBe(`active AUTHORITY ${behind}`);
  });
});

describe('S13 refuse', () => {
  it('there is no answer about a token that would be good, known or not, and nobody is asked', async () => {
    const stage = await stageOf('refuse');
    for (const raw of ['known', 'unknown']) stage.central.knows(raw, alice);
    await stage.ask('known');
    await stage.clock.advance(10_001);
    for (const raw of ['known', 'unknown']) {
      await expect(stage.ask(raw)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'NEWS_BEHIND', retryAfterMs: 1000 });
    }
    await expect(stage.ask('known', { maxStalenessMs: 0 })).rejects.toMatchObject({ reason: 'NEWS_BEHIND' });
    expect(stage.central.reads).toEqual(['known']);
    stage.bus.proven(stage.clock.monotonicMs());
    expect(await outcome(stage.ask('unknown'))).toBe('active AUTHORITY');
  });

  it('what is inactive by its facts alone is answered also when those are past their time', async () => {
    const stage = await stageOf('refuse', { limits: { timeMs: 5000 } });
    stage.central.knows('t', { token: { ...alice.token, expiresAtMs: stage.clock.nowMs() + 8000 } });
    await stage.ask('t');
    await stage.clock.advance(10_001);
    expect(await outcome(stage.ask('t'))).toBe(`EXPIRED MEMORY ${behind}`);
    expect(stage.central.reads).toHaveLength(1);
  });

  it('S16 an ended token is not called EXPIRED to whoever may have it beyond its end', async () => {
    const central = createFakeIssuer({ expiredWithinMs: 3_600_000 });
    const stage = await stageOf('refuse', { issuers: [central] });
    central.knows('t', { token: { ...alice.token, expiresAtMs: stage.clock.nowMs() + 5000 } });
    await stage.ask('t');
    await stage.clock.advance(10_001);
    expect(await outcome(stage.ask('t', { more: { allowExpired: true } }))).toBe('UNAVAILABLE NEWS_BEHIND');
    expect(await outcome(stage.ask('t'))).toBe(`EXPIRED MEMORY ${behind}`);
  });

  it('a refusal that is remembered is answered', async () => {
    const stage = await stageOf('refuse');
    await stage.clock.advance(9000);
    expect(await outcome(stage.ask('t'))).toBe('REFUSED');
    await stage.clock.advance(1001);
    expect(await outcome(stage.ask('t'))).toBe('REFUSED');
    expect(stage.central.reads).toHaveLength(1);
  });

  it('a demand that it does not meet is answered: nobody is let in by that', async () => {
    const stage = await stageOf('refuse');
    stage.central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(10_001);
    expect(await outcome(stage.ask('t', { demand: { scope: { kind: 'system' } } }))).toBe(`WRONG_SCOPE MEMORY ${behind}`);
  });

  it('what was under way when it began has no answer either', async () => {
    const stage = await stageOf('refuse');
    stage.central.knows('t', alice);
    const held = stage.central.hold();
    const call = outcome(stage.ask('t'));
    await settled();
    stage.bus.suspect(true);
    held.all();
    expect(await call).toBe('UNAVAILABLE NEWS_BEHIND');
  });
});

describe('S13 FindToken while degraded', () => {
  it('revalidate: what cannot be confirmed is found, marked; what another sidecar has confirmed is found before it', async () => {
    const region = await createRegion({ skews: [0, 0] });
    ends.push(() => region.close());
    region.central.knows('t', alice);
    await region.first.ask('t');
    await settled();
    region.first.degradations.addSource({ issuer: 'central', name: 'bus' });
    await region.clock.advance(11_000);
    expect(await region.first.find('alice', 'shop')).toMatchObject({ provenance: 'MEMORY', degradedBy: [behind], maxAgeMs: 0 });
    await region.second.ask('t', { maxStalenessMs: 0 });
    await settled();
    expect(await region.first.find('alice', 'shop')).toMatchObject({ provenance: 'SHARED', degradedBy: [behind], maxAgeMs: 0 });
  });

  it('refuse: there is no answer', async () => {
    const stage = await stageOf('refuse');
    stage.central.knows('t', alice);
    await stage.ask('t');
    await stage.clock.advance(10_001);
    await expect(stage.find('alice', 'shop')).rejects.toMatchObject({ reason: 'NEWS_BEHIND' });
  });
});
