// Where facts come from: age, flights, bounds, refusals and the memory tier.

import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { SidecarError } from '../../src/core/errors.ts';
import { canonical, digestOf } from '../../src/core/raw.ts';
import { createFakeIssuer, factsOf, lifeRules } from '../fakes/issuer.ts';
import { always, createValidationStage, type StageOptions, settled, type ValidationStage, verdict } from './validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function createStage(options: StageOptions = {}): Promise<ValidationStage> {
  const stage = await createValidationStage(options);
  ends.push(() => stage.close());
  return stage;
}

const alice = { token: { user: { id: 'alice' } } };

describe('age', () => {
  it.each([
    { ageMs: 299_999, asked: 1 },
    { ageMs: 300_000, asked: 2 },
    { ageMs: 300_001, asked: 2 },
  ])('S1 facts of 300 s at $ageMs ms: the authority has been asked $asked times', async ({ ageMs, asked }) => {
    const stage = await createStage();
    stage.central.knows('t');
    await stage.ask('t');
    await stage.clock.advance(ageMs);

    expect(verdict(await stage.ask('t'))).toBe('active');
    expect(stage.central.reads).toHaveLength(asked);
  });

  it('S1 the age counts from the moment when the fetch began, not from when it ended', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    const held = stage.central.hold();
    const first = stage.ask('t');
    await stage.clock.advance(4000);
    held.all();
    expect((await first).maxAgeMs).toBe(296_000);
    await stage.clock.advance(296_000);
    await stage.ask('t');

    expect(stage.central.reads).toHaveLength(2);
  });

  it.each([-86_400_000 / 2, 3_600_000])('S1 a wall clock that steps by %i ms changes no age', async (stepMs) => {
    const lives = createFakeIssuer({ life: lifeRules({ maxTokenLifeMs: 4_000_000_000_000 }) });
    lives.knows('t', { token: { issuedAtMs: 0, expiresAtMs: 4_000_000_000_000 } });
    const stage = await createStage({ issuers: [lives] });
    await stage.ask('t');
    stage.clock.stepWall(stepMs);
    await stage.clock.advance(299_999);
    expect((await stage.ask('t')).maxAgeMs).toBe(1);
    expect(lives.reads).toHaveLength(1);
    await stage.clock.advance(1);
    await stage.ask('t');

    expect(lives.reads).toHaveLength(2);
  });

  it('S1 jitter shortens the time and never lengthens it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (random, jitter) => {
          const stage = await createValidationStage({ limits: { jitter }, random: () => random });
          stage.central.knows('t');
          await stage.ask('t');
          const { freshUntilMs, began } = stage.facts.find(digestOf('t')) ?? { freshUntilMs: NaN, began: { monotonicMs: NaN } };
          await stage.close();
          expect(freshUntilMs - began.monotonicMs).toBeLessThanOrEqual(300_000);
          expect(freshUntilMs - began.monotonicMs).toBeGreaterThanOrEqual(300_000 * (1 - jitter) - 1);
        },
      ),
      { numRuns: 30 },
    );
  });

  it.each([
    { offsetMs: 7000, degraded: [] },
    { offsetMs: -7000, degraded: [] },
    { offsetMs: 7001, degraded: ['CLOCK'] },
    { offsetMs: -7001, degraded: ['CLOCK'] },
  ])('S1 a clock that is $offsetMs ms off, of 7 s allowed: $degraded', async ({ offsetMs, degraded }) => {
    const issuer = createFakeIssuer({ life: lifeRules({ skewMs: 7000 }) });
    issuer.knows('t');
    issuer.setClockOffset(offsetMs);
    const stage = await createStage({ issuers: [issuer] });

    const answer = await stage.ask('t');

    expect(answer.degradedBy).toEqual(degraded);
    expect(answer.maxAgeMs > 0).toBe(degraded.length === 0);
  });

  it('S1 a clock that is right again ends CLOCK', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    stage.central.setClockOffset(60_000);
    await stage.ask('t');
    expect(stage.degradations.by('central')).toEqual(['CLOCK']);
    stage.central.setClockOffset(0);
    await stage.ask('unknown');

    expect(stage.degradations.all()).toEqual([]);
    expect(stage.telemetry.lines.map(({ level, fields }) => [level, fields['reason'], fields['offsetMs']])).toEqual([
      ['warn', 'CLOCK', 60_000],
      ['info', 'CLOCK', 0],
    ]);
  });
});

describe('flights', () => {
  it('1,000 calls for one unknown token are one question, and all get its answer', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    const held = stage.central.hold();
    const calls = Array.from({ length: 1000 }, () => stage.ask('t'));
    await settled();
    expect(stage.facts.flightsTo('central')).toBe(1);
    held.all();
    const verdicts = new Set((await Promise.all(calls)).map(verdict));

    expect(verdicts).toEqual(new Set(['active']));
    expect(stage.central.reads).toEqual(['t']);
    expect(stage.telemetry.count('sidegate_flight_waiters_total', { issuer: 'central' })).toBe(999);
    expect(stage.facts.flightsTo('central')).toBe(0);
  });

  it('a waiter leaves by its own deadline, and the flight goes on for the others', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    const held = stage.central.hold();
    const leaves = new AbortController();
    const leaver = stage.ask('t', {}, leaves.signal);
    const stays = stage.ask('t');
    leaves.abort();

    await expect(leaver).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', reason: 'DEADLINE' });
    expect(stage.facts.flightsTo('central')).toBe(1);
    held.all();
    expect(verdict(await stays)).toBe('active');
    expect(stage.central.reads).toHaveLength(1);
  });

  it('a flight that all have left still lands in memory', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    const held = stage.central.hold();
    const leaves = new AbortController();
    const leaver = stage.ask('t', {}, leaves.signal);
    leaves.abort();
    await expect(leaver).rejects.toThrow();
    held.all();
    await settled();

    expect((await stage.ask('t')).provenance).toBe('MEMORY');
  });

  it('a flight that fails fails its waiters and nobody else', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    stage.central.isDown();
    const held = stage.central.hold();
    const calls = [stage.ask('t'), stage.ask('t')];
    await settled();
    held.all();
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'UPSTREAM_DOWN' });
    stage.central.answers();

    expect(verdict(await stage.ask('t'))).toBe('active');
  });

  it('a format that fails in a way nobody planned fails the call, never "inactive"', async () => {
    const stage = await createStage();
    stage.central.isDown(new TypeError('planned'));

    await expect(stage.ask('t')).rejects.toThrow('planned');
  });

  it('a format that hangs ends by the flight’s deadline with UNAVAILABLE', async () => {
    const issuer = createFakeIssuer({ calls: { deadlineMs: 30, concurrency: 1, queue: 1 } });
    issuer.script(() => new Promise(() => undefined));
    const stage = await createStage({ issuers: [issuer] });

    await expect(stage.ask('t')).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'UPSTREAM_TIMEOUT', retryAfterMs: 1000 });
    expect(stage.facts.flightsTo('central')).toBe(0);
    expect(stage.telemetry.count('sidegate_upstream_calls_total', { outcome: 'timeout' })).toBe(1);
  });

  it('the deadline of a flight counts the wait for its turn', async () => {
    const issuer = createFakeIssuer({ calls: { deadlineMs: 40, concurrency: 1, queue: 1 } });
    issuer.script(() => new Promise(() => undefined));
    const stage = await createStage({ issuers: [issuer] });
    const first = stage.ask('a');
    const second = stage.ask('b');

    await expect(first).rejects.toMatchObject({ reason: 'UPSTREAM_TIMEOUT' });
    await expect(second).rejects.toMatchObject({ reason: 'UPSTREAM_TIMEOUT' });
    expect(issuer.reads.length).toBeLessThanOrEqual(2);
  });

  it.each([
    { tokens: 4, shed: 0 },
    { tokens: 5, shed: 0 },
    { tokens: 6, shed: 1 },
  ])('two at once and three that wait: of $tokens distinct tokens $shed are turned away', async ({ tokens, shed }) => {
    const issuer = createFakeIssuer({ calls: { deadlineMs: 5000, concurrency: 2, queue: 3 } });
    const stage = await createStage({ issuers: [issuer] });
    const held = issuer.hold();
    const calls = Array.from({ length: tokens }, (_, n) => stage.ask(`t${n}`).then(verdict, (error: SidecarError) => error.reason));
    await settled();
    expect(issuer.running).toBe(2);
    expect(stage.facts.queued('central')).toBe(tokens - 2 - shed);
    held.all();
    const outcomes = await Promise.all(calls);

    expect(outcomes.filter((outcome) => outcome === 'UPSTREAM_BUSY')).toHaveLength(shed);
    expect(outcomes.filter((outcome) => outcome === 'REFUSED')).toHaveLength(tokens - shed);
    expect(stage.telemetry.count('sidegate_upstream_calls_total', { outcome: 'shed' })).toBe(shed);
  });

  it('one issuer that hangs takes no place from another', async () => {
    const calls = { deadlineMs: 5000, concurrency: 1, queue: 1 };
    const slow = createFakeIssuer({ name: 'slow', prefix: 's_', calls });
    const quick = createFakeIssuer({ name: 'quick', prefix: 'q_', calls });
    quick.knows('q_1');
    const stage = await createStage({ issuers: [slow, quick] });
    const held = slow.hold();
    const hanging = stage.ask('s_1');

    expect(verdict(await stage.ask('q_1'))).toBe('active');
    held.all();
    await hanging;
  });

  it('a call that allows facts of one second does not live from a flight that began before that', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    const held = stage.central.hold();
    const patient = stage.ask('t');
    await stage.clock.advance(1001);
    const strict = stage.ask('t', { maxStalenessMs: 1000 });
    held.all();
    const [first, second] = await Promise.all([patient, strict]);

    expect(stage.central.reads).toHaveLength(2);
    expect((second.known?.began.monotonicMs ?? 0) - (first.known?.began.monotonicMs ?? 0)).toBe(1001);
  });

  it('a call that allows facts of one second joins a flight of one second', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    const held = stage.central.hold();
    const patient = stage.ask('t');
    await stage.clock.advance(1000);
    const strict = stage.ask('t', { maxStalenessMs: 1000 });
    held.all();
    await Promise.all([patient, strict]);

    expect(stage.central.reads).toHaveLength(1);
  });
});

describe('memory', () => {
  it('is bounded by bytes, and what is dropped for want of room is counted', async () => {
    const stage = await createStage({ limits: { memoryBytes: 50_000 } });
    for (let n = 0; n < 100; n += 1) {
      stage.central.knows(`t${n}`);
      await stage.ask(`t${n}`);
    }

    expect(stage.facts.bytes).toBeLessThanOrEqual(50_000);
    expect(stage.facts.entries('memory')).toBeLessThan(100);
    expect(stage.telemetry.count('sidegate_cache_evictions_total', { tier: 'memory' })).toBe(100 - stage.facts.entries('memory'));
  });

  it('one huge token pushes nothing out: it is not kept', async () => {
    const stage = await createStage({ limits: { memoryBytes: 200_000 } });
    stage.central.knows('good');
    stage.central.knows('huge', { token: { claimsJson: JSON.stringify({ x: 'y'.repeat(150_000) }) } });
    await stage.ask('good');
    await stage.ask('huge');

    expect((await stage.ask('good')).provenance).toBe('MEMORY');
    expect((await stage.ask('huge')).provenance).toBe('AUTHORITY');
  });

  it('caching off: every call asks, and no answer may be repeated', async () => {
    const stage = await createStage({ limits: { enabled: false } });
    stage.central.knows('t');

    expect((await stage.ask('t')).maxAgeMs).toBe(0);
    expect((await stage.ask('t')).provenance).toBe('AUTHORITY');
    expect(stage.central.reads).toHaveLength(2);
    expect(stage.facts.entries('memory')).toBe(0);
  });

  it('10,000 distinct garbage tokens of every shape evict nothing good, add no byte, and ask nobody where the shape tells', async () => {
    const jwt = createFakeIssuer({ name: 'corp', accepts: ['jwt'], jwtIssuer: 'https://corp', provenance: 'signature' });
    const opaque = createFakeIssuer({ name: 'central', prefix: 'op_' });
    const stage = await createStage({ issuers: [jwt, opaque], limits: { refusals: { enabled: true, timeMs: 5000, maxEntries: 500 } } });
    for (let n = 0; n < 50; n += 1) {
      opaque.knows(`op_good${n}`);
      await stage.ask(`op_good${n}`);
    }
    const { bytes } = stage.facts;
    const asked = opaque.reads.length;
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const shapes: ((n: number) => string)[] = [
      (n) => `nobody's token ${n}`,
      (n) => `gAAAAA${Buffer.alloc(66, n).toString('base64url')}${n}`,
      (n) => n.toString(16).padStart(32, '0'),
      (n) => `MII${n}`,
      (n) => `PKIZ_${n}`,
      (n) => `ey${n}.e30.x`,
      (n) => `${part({ alg: 'ES256' })}.${part({ iss: 'https://other', n })}.AA`,
      (n) => `${part({ alg: 'none' })}.${part({ openstack_methods: [], n })}.`,
      (n) => `tok\u{fc}n${n}`,
      (n) => `x${n}`,
    ];
    for (let n = 0; n < 10_000; n += 1) expect((await stage.ask(shapes[n % 10]?.(n) ?? '')).decision.active).toBe(false);
    for (let n = 0; n < 1000; n += 1) expect(verdict(await stage.ask(`op_garbage${n}`))).toBe('REFUSED');

    expect(stage.facts.bytes).toBe(bytes);
    expect(stage.facts.entries('memory')).toBe(50);
    expect(jwt.reads).toHaveLength(0);
    expect(opaque.reads.length - asked).toBe(1000);
    for (let n = 0; n < 50; n += 1) expect((await stage.ask(`op_good${n}`)).provenance).toBe('MEMORY');
    expect(stage.facts.entries('unknown')).toBe(500);
  });

  it('all spellings of one Fernet token are one question', async () => {
    const bytes = Buffer.alloc(57 + 16, 5);
    bytes.fill(0, 1, 5);
    bytes[0] = 0x80;
    const plain = bytes.toString('base64url');
    const stage = await createStage();
    stage.central.knows(canonical(plain));
    const spellings = [plain, `${plain}==`, ` ${plain}\n`, bytes.toString('base64'), `${plain.slice(0, -1)}${nextLetter(plain)}`];
    for (const spelling of spellings) expect(verdict(await stage.ask(spelling))).toBe('active');

    expect(stage.central.reads).toEqual([canonical(plain)]);
  });
});

/** A last letter that differs only in bits that are left over. */
function nextLetter(base64url: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return alphabet[alphabet.indexOf(base64url.at(-1) ?? '') + 1] ?? '';
}

describe('refusals', () => {
  it('S9 a refusal is remembered for 5 s', async () => {
    const stage = await createStage();
    await stage.ask('t');
    await stage.clock.advance(4999);
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    expect(stage.central.reads).toHaveLength(1);
    await stage.clock.advance(1);
    await stage.ask('t');

    expect(stage.central.reads).toHaveLength(2);
  });

  it('S9 where facts were known, a REFRESH that matches ends a refusal, and another does not', async () => {
    const stage = await createStage({ limits: { timeMs: 1000 } });
    stage.central.knows('t', alice);
    await stage.ask('t');
    stage.central.refuses('t');
    await stage.clock.advance(1000);
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    stage.central.knows('t', alice);
    await stage.refreshUser('bob');
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    await stage.refreshUser('alice');

    expect(verdict(await stage.ask('t'))).toBe('active');
  });

  it('S6 S9 a refusal from within the settle window of such a REFRESH is provisional, as facts are', async () => {
    const stage = await createStage({ limits: { timeMs: 60_000 } });
    stage.central.knows('t', alice);
    await stage.ask('t');
    // Announced before it is written down that the role is there again.
    stage.central.refuses('t');
    await stage.refreshUser('alice');
    await stage.clock.advance(500);
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    stage.central.knows('t', alice);
    await stage.clock.advance(1499);
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    await stage.clock.advance(1);

    expect(verdict(await stage.ask('t'))).toBe('active');
    expect(stage.central.reads).toHaveLength(3);
  });

  it('S9 however often it has been refused, a REFRESH that matches what the token was ends it', async () => {
    const stage = await createStage({ limits: { timeMs: 1000 } });
    stage.central.knows('t', alice);
    await stage.ask('t');
    stage.central.refuses('t');
    for (let n = 0; n < 3; n += 1) {
      await stage.clock.advance(5000);
      expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    }
    stage.central.knows('t', alice);
    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
    await stage.refreshUser('alice');

    expect(verdict(await stage.ask('t'))).toBe('active');
  });

  it('S9 a refusal of what was never known lasts its 5 s whatever is refreshed', async () => {
    const stage = await createStage();
    await stage.ask('t');
    stage.central.knows('t', alice);
    await stage.refreshUser('alice');

    expect(verdict(await stage.ask('t'))).toBe('REFUSED');
  });

  it('S9 no answer is never remembered as a refusal', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    stage.central.isDown();
    await expect(stage.ask('t')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    stage.central.answers();

    expect(verdict(await stage.ask('t'))).toBe('active');
  });

  it('S9 other reasons than a refusal are not remembered: they come from the token itself', async () => {
    const stage = await createStage();
    stage.central.script(() => ({ kind: 'inactive', reason: 'BAD_SIGNATURE' }));
    await stage.ask('t');
    await stage.ask('t');

    expect(stage.central.reads).toHaveLength(2);
  });

  it('S9 when most tokens that were active are refused, refusals are not remembered, which is counted and said once', async () => {
    const stage = await createStage({ limits: { timeMs: 1000 } });
    for (let n = 0; n < 30; n += 1) {
      stage.central.knows(`t${n}`);
      await stage.ask(`t${n}`);
    }
    for (let n = 0; n < 30; n += 1) stage.central.refuses(`t${n}`);
    await stage.clock.advance(1000);
    for (let n = 0; n < 30; n += 1) expect(verdict(await stage.ask(`t${n}`))).toBe('REFUSED');
    for (let n = 0; n < 30; n += 1) stage.central.knows(`t${n}`);
    for (let n = 0; n < 30; n += 1) expect(verdict(await stage.ask(`t${n}`))).toBe('active');

    expect(stage.telemetry.count('sidegate_refusals_forgotten_total', { issuer: 'central' })).toBe(11);
    expect(stage.telemetry.lines.filter((line) => line.message.includes('refusals are not remembered'))).toHaveLength(1);
  });

  it('S9 tokens that had ended by themselves do not make a mass refusal', async () => {
    const stage = await createStage({ limits: { timeMs: 1000 } });
    const endsAtMs = stage.clock.nowMs() + 1000;
    for (let n = 0; n < 30; n += 1) {
      stage.central.knows(`t${n}`, { token: { expiresAtMs: endsAtMs } });
      await stage.ask(`t${n}`);
      stage.central.refuses(`t${n}`);
    }
    await stage.clock.advance(2000);
    for (let n = 0; n < 30; n += 1) expect(verdict(await stage.ask(`t${n}`))).toBe('REFUSED');
    const asked = stage.central.reads.length;
    for (let n = 0; n < 30; n += 1) await stage.ask(`t${n}`);

    expect(stage.central.reads).toHaveLength(asked);
  });
});

describe('fetch', () => {
  it('older facts never replace newer ones', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    const wanted = { digest: digestOf('t'), raw: 't', issuer: stage.central.issuer };
    await stage.facts.fetch(wanted, always);
    const newest = stage.facts.find(wanted.digest)?.began.monotonicMs;
    await stage.clock.advance(10);
    await stage.facts.fetch(wanted, always);

    expect(stage.facts.find(wanted.digest)?.began.monotonicMs).toBe((newest ?? 0) + 10);
  });

  it('facts of every kind survive the way through memory', async () => {
    const stage = await createStage();
    const facts = factsOf('central', { token: { roles: [{ id: 'r1', name: 'member' }], scopes: ['read'], auditIds: ['a1'] } });
    stage.central.knows('t', facts);
    await stage.ask('t');

    expect((await stage.ask('t')).known?.token()).toMatchObject({
      roles: [{ id: 'r1', name: 'member' }],
      scopes: ['read'],
      auditIds: ['a1'],
    });
  });
});
