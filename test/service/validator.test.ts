// Validate: what answers at once, what asks first, and what an answer may promise.

import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { entryIdOf } from '../../src/core/entry-id.ts';
import { SidecarError } from '../../src/core/errors.ts';
import { revision } from '../../src/core/invalidation.ts';
import type { Answer } from '../../src/service/question.ts';
import { createFakeIssuer, type FakeIssuerOptions, lifeRules } from '../fakes/issuer.ts';
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

/** An issuer whose one token `t` says something, and its stage. */
async function createStageOf(said: Parameters<ReturnType<typeof createFakeIssuer>['knows']>[1], options: FakeIssuerOptions = {}) {
  const issuer = createFakeIssuer(options);
  issuer.knows('t', said);
  return { issuer, ...(await createStage({ issuers: [issuer] })) };
}

describe('a hit', () => {
  it('is answered at once: no promise, no signal, no question', async () => {
    const stage = await createStage();
    stage.central.knows('t');
    await stage.ask('t');

    const answer = stage.validator.validate({ raw: 't' }, () => {
      throw new Error('a hit needs no signal');
    });

    expect(answer).not.toBeInstanceOf(Promise);
    expect(answer).toMatchObject({ decision: { active: true }, provenance: 'MEMORY' });
    expect(stage.central.reads).toHaveLength(1);
    expect(stage.validator).toMatchObject({ lookups: 2, hits: 1 });
  });

  it.each([
    { raw: 'no spaces within', reason: 'MALFORMED' },
    { raw: 'x'.repeat(65_537), reason: 'MALFORMED' },
  ])('what is no token is answered at once: $reason', async ({ raw, reason }) => {
    const stage = await createStage();

    expect(stage.validator.validate({ raw }, () => always)).toMatchObject({ decision: { active: false, reason } });
    expect(stage.central.reads).toHaveLength(0);
  });

  it.each([
    { length: 99, asked: 1 },
    { length: 100, asked: 1 },
    { length: 101, asked: 0 },
  ])('of at most 100 characters, one of $length is asked about $asked times', async ({ length, asked }) => {
    const stage = await createStage({ tokenSizeBytes: 100 });
    await stage.ask('x'.repeat(length));

    expect(stage.central.reads).toHaveLength(asked);
  });

  it.each(['', ' ', '\n\t '])('an empty token (%j) is no question', async (raw) => {
    const stage = await createStage();

    expect(() => stage.validator.validate({ raw }, () => always)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', reason: 'TOKEN_MISSING' }),
    );
  });

  it('where the facts came from is said: the authority, the signature, memory', async () => {
    const signing = createFakeIssuer({ name: 'corp', prefix: 'c_', provenance: 'signature' });
    const asking = createFakeIssuer({ name: 'central' });
    signing.knows('c_t');
    asking.knows('t');
    const stage = await createStage({ issuers: [signing, asking] });

    expect((await stage.ask('c_t')).provenance).toBe('SIGNATURE');
    expect((await stage.ask('t')).provenance).toBe('AUTHORITY');
    expect((await stage.ask('c_t')).provenance).toBe('MEMORY');
    expect((await stage.ask('x')).provenance).toBeUndefined();
  });
});

describe('the decision', () => {
  it('a dead token is dead before anything that it may not do: lifetime, end, revocation, beginning, certificate, access, demand', async () => {
    const now = Date.UTC(2026, 10, 21, 10);
    const demand = { anyOfRoles: ['nobody'] };
    const bound = { certificateThumbprint: 'thumb' };
    const reasons: string[] = [];
    for (const { said, revoke } of [
      { said: { hasAccessRules: true, token: { ...bound, expiresAtMs: now + 999_000_000_000 } }, revoke: true },
      { said: { hasAccessRules: true, token: { ...bound, expiresAtMs: now - 1 } }, revoke: false },
      { said: { hasAccessRules: true, notBeforeMs: now + 5000, token: bound }, revoke: true },
      { said: { hasAccessRules: true, notBeforeMs: now + 5000, token: bound }, revoke: false },
      { said: { hasAccessRules: true, token: bound }, revoke: false },
      { said: { hasAccessRules: true }, revoke: false },
      { said: {}, revoke: false },
    ]) {
      const stage = await createStageOf(said);
      await stage.ask('t');
      if (revoke) await stage.revokeToken('t');
      reasons.push(verdict(await stage.ask('t', { demand })));
    }

    expect(reasons).toEqual([
      'LIFETIME_TOO_LONG',
      'EXPIRED',
      'REVOKED',
      'NOT_YET_VALID',
      'WRONG_CERTIFICATE',
      'ACCESS_DENIED',
      'MISSING_ROLE',
    ]);
  });

  it('a demand for other issuers is WRONG_ISSUER, and nobody is asked', async () => {
    const stage = await createStageOf({});

    expect(verdict(await stage.ask('t', { demand: { anyOfIssuers: ['other'] } }))).toBe('WRONG_ISSUER');
    expect(stage.issuer.reads).toHaveLength(0);
    expect(verdict(await stage.ask('t', { demand: { anyOfIssuers: ['other', 'central'] } }))).toBe('active');
    expect(verdict(await stage.ask('t', { demand: { anyOfIssuers: ['other'] } }))).toBe('WRONG_ISSUER');
  });

  it('S16 a bound token needs its certificate, also from memory', async () => {
    const stage = await createStageOf({ token: { certificateThumbprint: 'thumb' } });

    expect(verdict(await stage.ask('t', { demand: { certificateThumbprint: 'thumb' } }))).toBe('active');
    expect(verdict(await stage.ask('t', { demand: { certificateThumbprint: 'other' } }))).toBe('WRONG_CERTIFICATE');
    expect(verdict(await stage.ask('t'))).toBe('WRONG_CERTIFICATE');
  });

  it.each([
    { ms: -1, expected: 'active' },
    { ms: 0, expected: 'EXPIRED' },
    { ms: 1, expected: 'EXPIRED' },
  ])('S12 $ms ms from its end a token in memory is $expected', async ({ ms, expected }) => {
    const stage = await createStageOf({ token: { expiresAtMs: Date.UTC(2026, 10, 21, 10, 0, 30) } });
    await stage.ask('t');
    await stage.clock.advance(30_000 + ms);

    expect(verdict(await stage.ask('t'))).toBe(expected);
  });
});

describe('max_age', () => {
  it('ends with the facts', async () => {
    const stage = await createStageOf({});
    await stage.clock.advance(5);
    await stage.ask('t');
    await stage.clock.advance(1500);

    expect((await stage.ask('t')).maxAgeMs).toBe(298_500);
  });

  it('ends with the token', async () => {
    const stage = await createStageOf({ token: { expiresAtMs: Date.UTC(2026, 10, 21, 10, 0, 30) } });

    expect((await stage.ask('t')).maxAgeMs).toBe(30_000);
  });

  it('ends with the caller’s own bound', async () => {
    const stage = await createStageOf({});
    await stage.ask('t');
    await stage.clock.advance(400);

    expect((await stage.ask('t', { maxStalenessMs: 1000 })).maxAgeMs).toBe(600);
  });

  it('ends with the settle window', async () => {
    const stage = await createStageOf(alice);
    await stage.refreshUser('alice');
    await stage.clock.advance(500);

    expect((await stage.ask('t')).maxAgeMs).toBe(1500);
  });

  it('is nothing for an inactive token, and nothing while degraded', async () => {
    const stage = await createStageOf({});
    expect((await stage.ask('unknown')).maxAgeMs).toBe(0);
    stage.degradations.clockDiffers('central', 'authority', true);

    expect(await stage.ask('t')).toMatchObject({ decision: { active: true }, maxAgeMs: 0, degradedBy: ['CLOCK'] });
    stage.degradations.clockDiffers('central', 'authority', false);
    expect((await stage.ask('t')).maxAgeMs).toBeGreaterThan(0);
  });

  it('is nothing for facts that a REFRESH has overtaken on their way', async () => {
    const stage = await createStageOf(alice);
    const held = stage.issuer.hold();
    const call = stage.ask('t');
    await settled();
    await stage.refreshUser('alice');
    held.all();

    expect(await call).toMatchObject({ decision: { active: true }, maxAgeMs: 0 });
  });

  it('is at most a day, for tokens and facts that never end', async () => {
    const issuer = createFakeIssuer({ life: lifeRules({ endless: true }) });
    issuer.script(() => ({
      kind: 'facts',
      provenance: 'authority',
      facts: {
        hasAccessRules: false,
        unknown: [],
        token: {
          issuer: 'central',
          format: 'opaque',
          scope: { kind: 'unscoped' },
          roles: [],
          methods: [],
          auditIds: [],
          audiences: [],
          scopes: [],
          isAdminProject: false,
        },
      },
    }));
    const stage = await createStage({ issuers: [issuer], limits: { timeMs: Infinity } });

    expect((await stage.ask('t')).maxAgeMs).toBe(86_400_000);
  });
});

describe('max_staleness', () => {
  it.each([
    { ageMs: 999, asked: 1 },
    { ageMs: 1000, asked: 1 },
    { ageMs: 1001, asked: 2 },
  ])('facts of $ageMs ms, of one second allowed: the authority has been asked $asked times', async ({ ageMs, asked }) => {
    const stage = await createStageOf({});
    await stage.ask('t');
    await stage.clock.advance(ageMs);
    await stage.ask('t', { maxStalenessMs: 1000 });

    expect(stage.issuer.reads).toHaveLength(asked);
  });

  it('only tightens: it makes no facts serve longer', async () => {
    const stage = await createStageOf({});
    await stage.ask('t');
    await stage.clock.advance(300_000);
    await stage.ask('t', { maxStalenessMs: 86_400_000 });

    expect(stage.issuer.reads).toHaveLength(2);
  });
});

describe('REFRESH', () => {
  it('S6 the first call after it asks, and one that concerns others asks nobody', async () => {
    const stage = await createStageOf(alice);
    await stage.ask('t');
    await stage.refreshUser('bob');
    expect((await stage.ask('t')).provenance).toBe('MEMORY');
    await stage.refreshUser('alice');

    expect((await stage.ask('t')).provenance).toBe('AUTHORITY');
  });

  it('S6 while the authority is down a precise REFRESH leaves no answer', async () => {
    const stage = await createStageOf(alice);
    await stage.ask('t');
    await stage.refreshUser('alice');
    stage.issuer.isDown();

    await expect(stage.ask('t')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it.each([
    { atMs: 1999, asked: 2 },
    { atMs: 2000, asked: 3 },
    { atMs: 2001, asked: 3 },
  ])(
    'S6 facts fetched within the window are provisional: $atMs ms after the REFRESH they have been asked for $asked times',
    async ({ atMs, asked }) => {
      const stage = await createStageOf(alice);
      await stage.ask('t');
      await stage.refreshUser('alice');
      await stage.clock.advance(100);
      await stage.ask('t');
      await stage.clock.advance(atMs - 100);
      await stage.ask('t');

      expect(stage.issuer.reads).toHaveLength(asked);
    },
  );

  it('S6 at most two validations per token and refresh, however many calls', async () => {
    const stage = await createStageOf(alice);
    await stage.ask('t');
    await stage.refreshUser('alice');
    for (let n = 0; n < 100; n += 1) {
      await Promise.all([stage.ask('t'), stage.ask('t'), stage.ask('t')]);
      await stage.clock.advance(100);
    }

    expect(stage.issuer.reads).toHaveLength(3);
  });

  it('S6 facts fetched after the window are settled at once', async () => {
    const stage = await createStageOf(alice);
    await stage.ask('t');
    await stage.refreshUser('alice');
    await stage.clock.advance(2000);
    const answer = await stage.ask('t');
    await stage.clock.advance(1000);
    await stage.ask('t');

    expect(answer.maxAgeMs).toBe(300_000);
    expect(stage.issuer.reads).toHaveLength(2);
  });

  it('S6 a signature does not settle: no authority can have lagged', async () => {
    const stage = await createStageOf(alice, { provenance: 'signature' });
    await stage.ask('t');
    await stage.refreshUser('alice');
    await stage.ask('t');
    await stage.clock.advance(2500);
    await stage.ask('t');

    expect(stage.issuer.reads).toHaveLength(2);
  });

  it('S6 a call that comes after the window does not live from a fetch that began within it', async () => {
    const stage = await createStageOf(alice);
    await stage.refreshUser('alice');
    const held = stage.issuer.hold();
    const early = stage.ask('t');
    await stage.clock.advance(2000);
    const late = stage.ask('t');
    held.all();
    const [first, second] = await Promise.all([early, late]);

    expect(stage.issuer.reads).toHaveLength(2);
    expect((second.known?.began.monotonicMs ?? 0) - (first.known?.began.monotonicMs ?? 0)).toBe(2000);
  });

  it('S6 a REFRESH during a fetch: who came before it takes the answer, who comes after waits for one fetch more', async () => {
    const stage = await createStageOf(alice);
    const held = stage.issuer.hold();
    const before = stage.ask('t');
    await settled();
    await stage.refreshUser('alice');
    const after = [stage.ask('t'), stage.ask('t'), stage.ask('t')];
    await settled();
    expect(stage.issuer.reads).toHaveLength(1);
    held.one();
    expect((await before).known?.began.revision).toBe(0);
    await settled();
    expect(stage.issuer.reads).toHaveLength(2);
    held.all();
    for (const answer of await Promise.all(after)) expect(answer.known?.began.revision).toBe(1);

    expect(stage.issuer.reads).toHaveLength(2);
  });

  it('S6 a REFRESH of others during a fetch costs nothing', async () => {
    const stage = await createStageOf(alice);
    const held = stage.issuer.hold();
    const before = stage.ask('t');
    await settled();
    await stage.refreshUser('bob');
    const after = stage.ask('t');
    held.all();
    await Promise.all([before, after]);

    expect(stage.issuer.reads).toHaveLength(1);
  });

  it('S6 a refusal from before a REFRESH is asked for once more', async () => {
    const stage = await createStageOf(alice);
    stage.issuer.refuses('t');
    const held = stage.issuer.hold();
    const before = stage.ask('t');
    await settled();
    await stage.refreshUser('alice');
    const after = stage.ask('t');
    held.one();
    expect(verdict(await before)).toBe('REFUSED');
    stage.issuer.knows('t', alice);
    await settled();
    held.all();

    expect(verdict(await after)).toBe('active');
  });

  it('S6 no answer rests on facts whose fetch began before a matching REFRESH that was applied when the call arrived', async () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.constant('validate' as const) },
      { weight: 1, arbitrary: fc.constant('validate from now' as const) },
      { weight: 2, arbitrary: fc.constant('refresh' as const) },
      { weight: 1, arbitrary: fc.constant('refresh others' as const) },
      { weight: 3, arbitrary: fc.constant('land' as const) },
      { weight: 1, arbitrary: fc.constant('fail' as const) },
      { weight: 2, arbitrary: fc.integer({ min: 1, max: 3000 }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 40 }), async (steps) => {
        const stage = await createValidationStage();
        stage.central.knows('t', alice);
        let held = stage.central.hold();
        let refreshed = { revision: 0, atMs: -Infinity };
        const calls: Promise<void>[] = [];
        const call = (maxStalenessMs?: number): void => {
          const needs = refreshed;
          const arrivedMs = stage.clock.monotonicMs();
          const question = maxStalenessMs === undefined ? {} : { maxStalenessMs };
          const judged = stage.ask('t', question).then(
            ({ known }) => {
              expect(known?.began.revision).toBeGreaterThanOrEqual(needs.revision);
              // Provisional facts answer until their window ends, and no call after it.
              const settledFromMs = needs.atMs + 2000;
              const began = known?.began.monotonicMs ?? -Infinity;
              expect(began >= settledFromMs || arrivedMs < settledFromMs).toBe(true);
              expect(began).toBeGreaterThanOrEqual(maxStalenessMs === undefined ? -Infinity : arrivedMs - maxStalenessMs);
            },
            (error: unknown) => expect(error).toBeInstanceOf(SidecarError),
          );
          calls.push(judged);
        };
        for (const what of steps) {
          if (what === 'validate') call();
          else if (what === 'validate from now') call(0);
          else if (what === 'refresh') {
            const { asOf } = await stage.refreshUser('alice');
            refreshed = { revision: asOf.revision, atMs: stage.clock.monotonicMs() };
          } else if (what === 'refresh others') await stage.refreshUser('bob');
          else if (what === 'land') held.one();
          else if (what === 'fail') {
            stage.central.isDown();
            held.one();
            await settled();
            stage.central.answers();
          } else await stage.clock.advance(what);
          await settled();
        }
        held.all();
        await Promise.all(calls);
        held = stage.central.hold();
        held.all();
        await stage.close();
      }),
      { numRuns: 300 },
    );
  });
});

describe('the authority is down', () => {
  it('S9 what is cached is answered, what is unknown is UNAVAILABLE and never inactive', async () => {
    const stage = await createStageOf({});
    await stage.ask('t');
    stage.issuer.isDown();
    await stage.clock.advance(299_999);

    expect(verdict(await stage.ask('t'))).toBe('active');
    await expect(stage.ask('unknown')).rejects.toMatchObject({ code: 'UNAVAILABLE', retryAfterMs: 1000 });
    await stage.clock.advance(1);
    await expect(stage.ask('t')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('S9 a revoked token stays REVOKED, also past the time of its facts', async () => {
    const stage = await createStageOf({});
    await stage.ask('t');
    await stage.revokeToken('t');
    stage.issuer.isDown();
    expect(await stage.ask('t')).toMatchObject({ decision: { reason: 'REVOKED' }, provenance: 'MEMORY' });
    await stage.clock.advance(300_001);

    expect(await stage.ask('t')).toMatchObject({ decision: { reason: 'REVOKED' }, revoked: { revision: 1 } });
  });

  it('S9 a token revoked by possession is REVOKED where its facts were never known here', async () => {
    const stage = await createStageOf({});
    stage.issuer.isDown();
    await stage.revokeToken('t');

    expect(await stage.ask('t')).toMatchObject({ decision: { reason: 'REVOKED' }, revoked: { revision: 1 }, known: undefined });
    await expect(stage.ask('other')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('a revoked token needs no question at all', async () => {
    const stage = await createStageOf({});
    await stage.ask('t');
    await stage.revokeToken('t');
    for (let n = 0; n < 10; n += 1) await stage.ask('t', { maxStalenessMs: 0 });

    expect(stage.issuer.reads).toHaveLength(1);
  });
});

describe('freshness', () => {
  const entry = (stage: ValidationStage, value = 'alice') => stage.refreshUser(value);
  const outcome = (call: Promise<Answer>): Promise<string> =>
    call.then(verdict, (error: unknown) => (error instanceof SidecarError ? `${error.code} ${error.reason}` : String(error)));

  it('a cursor that is applied is a hit like any other', async () => {
    const stage = await createStageOf(alice);
    await entry(stage, 'bob');
    await stage.ask('t');

    const answer = stage.validator.validate({ raw: 't', atLeastAsFresh: { cursor: stage.invalidations.cursor() } }, () => always);

    expect(answer).not.toBeInstanceOf(Promise);
    expect(answer).toMatchObject({ asOf: 1 });
  });

  it('a cursor of another journal is FAILED_PRECONDITION at once', async () => {
    const stage = await createStageOf({});
    const cursor = { journal: 'other', revision: revision(0) };

    expect(await outcome(stage.ask('t', { atLeastAsFresh: { cursor } }))).toBe('FAILED_PRECONDITION OTHER_JOURNAL');
  });

  it('a cursor ahead is waited for', async () => {
    const stage = await createStageOf(alice);
    await stage.ask('t');
    const cursor = { ...stage.invalidations.cursor(), revision: revision(1) };
    const call = stage.ask('t', { atLeastAsFresh: { cursor } });
    await entry(stage);

    expect(await call).toMatchObject({ asOf: 1, provenance: 'AUTHORITY' });
  });

  it('a cursor that does not come within freshness_wait is FAILED_PRECONDITION', async () => {
    const stage = await createStageOf({});
    const cursor = { ...stage.invalidations.cursor(), revision: revision(1) };
    const startedMs = performance.now();

    expect(await outcome(stage.ask('t', { atLeastAsFresh: { cursor } }))).toBe('FAILED_PRECONDITION NOT_FRESH_ENOUGH');
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(45);
  });

  it('who leaves earlier does not wait so long', async () => {
    const stage = await createStage({ freshnessWaitMs: 600_000 });
    const cursor = { ...stage.invalidations.cursor(), revision: revision(1) };
    const call = outcome(stage.ask('t', { atLeastAsFresh: { cursor } }, AbortSignal.timeout(10)));

    expect(await call).toBe('FAILED_PRECONDITION NOT_FRESH_ENOUGH');
  });

  it('S14 an entry that is known here is applied', async () => {
    const stage = await createStageOf(alice);
    const { entryId } = await entry(stage);

    expect(await outcome(stage.ask('t', { atLeastAsFresh: { entryId } }))).toBe('active');
  });

  it('S14 an entry that comes while the call waits is applied', async () => {
    const stage = await createStageOf(alice);
    const name = { caller: 'somebody', requestId: 'r1' };
    const entryId = entryIdOf({ ...name, caller: `${stage.invalidations.journal.id} somebody` }, stage.clock.nowMs());
    const call = outcome(stage.ask('t', { atLeastAsFresh: { entryId } }));
    await settled();
    const draft = { effect: 'REFRESH' as const, selector: { kind: 'everything' as const }, lifeMs: 1000, origin: { source: 'rpc' } };
    const appended = await stage.invalidations.append(draft, { ...name, body: 'b' });

    expect(appended.entryId).toBe(entryId);
    expect(await call).toBe('active');
  });

  it('S14 an entry that is unknown is FAILED_PRECONDITION, unless it is older than any life', async () => {
    const stage = await createStageOf({});
    const idOf = (agoMs: number): string => entryIdOf({ caller: 'c', requestId: 'r' }, stage.clock.nowMs() - agoMs);
    const longestMs = stage.issuer.issuer.life.maxTokenLifeMs;

    expect(await outcome(stage.ask('t', { atLeastAsFresh: { entryId: idOf(0) } }))).toBe('FAILED_PRECONDITION NOT_FRESH_ENOUGH');
    expect(await outcome(stage.ask('t', { atLeastAsFresh: { entryId: idOf(longestMs) } }))).toBe('FAILED_PRECONDITION NOT_FRESH_ENOUGH');
    expect(await outcome(stage.ask('t', { atLeastAsFresh: { entryId: idOf(longestMs + 1000) } }))).toBe('active');
  });

  it.each(['', 'x', '0'.repeat(39), '0'.repeat(41), 'G'.repeat(40), '0'.repeat(39).concat('A')])(
    'S14 an id that is none (%j) is INVALID_ARGUMENT',
    async (entryId) => {
      const stage = await createStageOf({});

      expect(await outcome(stage.ask('t', { atLeastAsFresh: { entryId } }))).toBe('INVALID_ARGUMENT ENTRY_ID_MALFORMED');
    },
  );
});
