// Telling the authority: at once, later, after a restart; and what it means for the reply (S4, S5).

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../../src/core/errors.ts';
import { digestOf } from '../../../src/core/raw.ts';
import { openLevelJournal } from '../../../src/journal/leveldb.ts';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import type { Outbox } from '../../../src/ports.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { createFakeIssuer, type FakeIssuerOptions, factsOf, lifeRules } from '../../fakes/issuer.ts';
import { always, askedBy, createValidationStage, type StageOptions, settled, type ValidationStage, verdict } from '../validation-stage.ts';

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const hourMs = 3_600_000;
const down = (retryAfterMs?: number): SidecarError =>
  new SidecarError('UNAVAILABLE', 'nobody answers', { reason: 'UPSTREAM_DOWN', ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });

type Telling = (raw: string, signal: AbortSignal) => Promise<'accepted' | 'rejected'>;

/** An authority that can be told, and what it was told; it accepts everything until a test says otherwise. */
function createAuthority(options: FakeIssuerOptions = {}) {
  const told: string[] = [];
  let telling: Telling = async () => 'accepted';
  const fake = createFakeIssuer({
    revoke: (raw, signal) => {
      told.push(raw);
      return telling(raw, signal);
    },
    ...options,
  });
  const says = (next: Telling): void => {
    telling = next;
  };
  return { fake, told, says };
}

async function createStage(options: StageOptions): Promise<ValidationStage> {
  const stage = await createValidationStage(options);
  ends.push(() => stage.close());
  return stage;
}

/** A stage of one authority at which the token `t` is known, and has been seen. */
async function createKnownStage(options: Partial<StageOptions> & { readonly issuer?: FakeIssuerOptions } = {}) {
  const { issuer, ...more } = options;
  const authority = createAuthority(issuer);
  const stage = await createStage({ issuers: [authority.fake], ...more });
  for (const raw of ['t', 'u', 'v']) {
    authority.fake.knows(raw, { identity: `audit-${raw}` });
    await stage.ask(raw);
  }
  return { stage, authority, ...authority };
}

const waiting = async (stage: ValidationStage): Promise<number> => (await stage.journal.outbox.list()).length;
const revoke = (stage: ValidationStage, raw: string, requestId = '') => stage.revokeToken(raw, { requestId }, 'tcp', 'always');
const fingerprintOf = (stage: ValidationStage, raw: string): string => stage.tagger.fingerprints(digestOf(raw))[0] ?? '';

describe('telling the authority at once', () => {
  it('the reply says that it has accepted it, and nothing waits', async () => {
    const { stage, told } = await createKnownStage();

    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'accepted' });
    expect([told, await waiting(stage), stage.forwarding.pendingCount]).toEqual([['t'], 0, 0]);
    expect(stage.forwarding.status()).toEqual([{ issuer: 'central', pending: 0, accepted: 1, rejected: 0, expired: 0 }]);
    expect(stage.telemetry.count('sidegate_upstream_forwarded_total', { issuer: 'central', outcome: 'accepted' })).toBe(1);
    // The reply's own line says it.
    expect(stage.telemetry.audits).toEqual([]);
  });

  it('comes after the token is dead here, and after the letter is durable', async () => {
    const { stage, says } = await createKnownStage();
    let seen: unknown;
    says(async () => {
      seen = [verdict(await stage.ask('t')), await waiting(stage)];
      return 'accepted';
    });

    await revoke(stage, 't');
    expect(seen).toEqual(['REVOKED', 1]);
  });

  it('the reply says that it refuses it for good, and it is not told again', async () => {
    const { stage, told, says } = await createKnownStage();
    says(async () => 'rejected');

    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'rejected' });
    await stage.clock.advance(hourMs);
    expect([told, await waiting(stage), verdict(await stage.ask('t'))]).toEqual([['t'], 0, 'REVOKED']);
    expect(stage.forwarding.status()).toMatchObject([{ pending: 0, rejected: 1 }]);
  });

  it.each([
    { forward: 'as-configured' as const, revokeUpstream: true, told: ['t'], said: 'accepted' },
    { forward: 'as-configured' as const, revokeUpstream: false, told: [], said: undefined },
    { forward: 'never' as const, revokeUpstream: true, told: [], said: undefined },
    { forward: 'always' as const, revokeUpstream: false, told: ['t'], said: 'accepted' },
  ])('$forward, where the configuration says $revokeUpstream', async ({ forward, revokeUpstream, told, said }) => {
    const one = await createKnownStage({ issuer: { revokeUpstream } });

    expect((await one.stage.revokeToken('t', {}, 'tcp', forward)).forwarding).toBe(said);
    expect(one.told).toEqual(told);
  });

  it('always, of an issuer that cannot be told, is refused before anything is done', async () => {
    const stage = await createStage({});
    stage.central.knows('t');
    await stage.ask('t');

    await expect(revoke(stage, 't')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'CANNOT_FORWARD' });
    expect([stage.journal.count(), await waiting(stage), verdict(await stage.ask('t'))]).toEqual([0, 0, 'active']);
    expect((await stage.revokeToken('t')).forwarding).toBeUndefined();
  });

  it.each(['no format', 'x'.repeat(70_000)])('of what is nothing to kill there is nothing to tell', async (raw) => {
    const { stage, told } = await createKnownStage();

    const done = await revoke(stage, raw);
    expect([done.entryId, done.forwarding, told, await waiting(stage)]).toEqual(['', undefined, [], 0]);
  });
});

describe('an authority that does not answer', () => {
  it('the reply says pending; it is told ever later, up to five minutes, until it accepts; then a line says so', async () => {
    const { stage, told, says } = await createKnownStage();
    const at: number[] = [];
    const beganMs = stage.clock.monotonicMs();
    says(async () => {
      at.push((stage.clock.monotonicMs() - beganMs) / 1000);
      throw down();
    });

    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'pending' });
    await stage.clock.advance(2000 * 1000);
    // 1, 2, 4 … 256, then 300 s: `random` is 0, so nothing is taken off.
    expect(at).toEqual([0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111, 1411, 1711]);
    expect(stage.forwarding.status()).toMatchObject([{ pending: 1, oldestAtMs: stage.clock.nowMs() - 2_000_000 }]);
    expect(stage.telemetry.count('sidegate_upstream_forwarded_total', { outcome: 'error' })).toBe(14);

    says(async () => 'accepted');
    await stage.clock.advance(300_000);
    expect([told.length, await waiting(stage)]).toEqual([15, 0]);
    const selector = { issuer: 'central', fingerprint: fingerprintOf(stage, 't') };
    expect(stage.telemetry.audits).toEqual([{ act: 'revoke', actor: 'socket', outcome: 'forwarded: accepted', selector }]);
    expect(stage.forwarding.status()).toEqual([{ issuer: 'central', pending: 0, accepted: 1, rejected: 0, expired: 0 }]);
  });

  it('is told later still where it asks for that, also by a retry', async () => {
    const { stage, told, says } = await createKnownStage();
    says(async () => {
      throw down(60_000);
    });
    await revoke(stage, 't');
    // Nobody waits for what it has said it will not do.
    expect([await revoke(stage, 't'), await revoke(stage, 'u')]).toMatchObject(Array(2).fill({ forwarding: 'pending' }));
    await stage.clock.advance(59_999);
    expect(told).toEqual(['t']);
    await stage.clock.advance(1);
    expect(told.toSorted()).toEqual(['t', 't', 'u']);
  });

  it('a slow one is waited for a second, and what it says then is written down', async () => {
    const { stage, says } = await createKnownStage();
    let answer: (said: 'rejected') => void = () => undefined;
    says(() => new Promise((resolve) => (answer = resolve)));
    let said: unknown;
    const reply = revoke(stage, 't').then((done) => {
      said = done.forwarding;
    });
    await stage.clock.advance(999);
    expect(said).toBeUndefined();
    await stage.clock.advance(1);
    await reply;
    expect(said).toBe('pending');

    answer('rejected');
    await settled();
    expect(stage.telemetry.audits).toMatchObject([{ outcome: 'forwarded: rejected' }]);
    expect(await waiting(stage)).toBe(0);
  });

  it('one that never answers has its deadline for each attempt, and is told again', async () => {
    const { stage, told, says } = await createKnownStage();
    const signals: AbortSignal[] = [];
    says((_raw, signal) => {
      signals.push(signal);
      return new Promise(() => undefined);
    });
    void revoke(stage, 't');
    await stage.clock.advance(4999);
    expect(signals.map((signal) => signal.aborted)).toEqual([false]);
    await stage.clock.advance(1);
    expect(signals.map((signal) => signal.aborted)).toEqual([true]);
    await stage.clock.advance(1000);
    expect(told).toEqual(['t', 't']);
  });

  it('who leaves does not wait, and the authority is told all the same', async () => {
    const { stage, told, says } = await createKnownStage();
    says(() => new Promise(() => undefined));
    const leaves = new AbortController();
    const reply = stage.revoker.revokeToken('t', askedBy(), 'tcp', leaves.signal, 'always');
    await settled();
    leaves.abort(new Error('left'));
    await expect(reply).rejects.toThrow('left');
    expect([told, await waiting(stage)]).toEqual([['t'], 1]);
  });

  it('what it throws is said by its reason only: it may hold the token', async () => {
    const { stage, says } = await createKnownStage();
    says(async (raw) => {
      throw new TypeError(`DELETE of ${raw}-secret failed`);
    });
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'pending' });
    expect(stage.telemetry.lines).toMatchObject([{ level: 'warn', fields: { issuer: 'central', reason: 'INTERNAL', pending: 1 } }]);
    expect(stage.telemetry.everything()).not.toContain('t-secret');
  });

  it('does not hold up another, and is asked by two at a time', async () => {
    const slow = createAuthority({ name: 'slow', prefix: 'slow_' });
    const quick = createAuthority({ name: 'quick', prefix: 'quick_' });
    const stage = await createStage({ issuers: [slow.fake, quick.fake] });
    slow.says(() => new Promise(() => undefined));
    for (const raw of ['slow_1', 'slow_2', 'slow_3', 'quick_1']) {
      const { fake } = raw.startsWith('slow') ? slow : quick;
      fake.knows(raw, { identity: raw });
      await stage.ask(raw);
    }
    const replies = Promise.all(['slow_1', 'slow_2', 'slow_3'].map((raw) => revoke(stage, raw)));
    await settled();
    expect(await revoke(stage, 'quick_1')).toMatchObject({ forwarding: 'accepted' });
    expect(slow.told).toEqual(['slow_1', 'slow_2']);
    await stage.clock.advance(1000);
    expect(await replies).toMatchObject(Array(3).fill({ forwarding: 'pending' }));
    await stage.clock.advance(4000);
    expect(slow.told).toContain('slow_3');
  });

  it('is tried by one of many that wait, not by all; when it is back, all of them get through', async () => {
    const { stage, told, says, fake } = await createKnownStage({ unverified: { perSecond: 1000, alive: 1000 } });
    says(async () => {
      throw down();
    });
    for (let n = 0; n < 20; n += 1) {
      fake.knows(`n${n}`, { identity: `n${n}` });
      await stage.ask(`n${n}`);
      await revoke(stage, `n${n}`);
    }
    const before = told.length;
    await stage.clock.advance(1000 * 1000);
    expect(told.length - before).toBeLessThan(20);
    says(async () => 'accepted');
    await stage.clock.advance(300_000);
    expect([await waiting(stage), stage.forwarding.status()]).toMatchObject([0, [{ accepted: 20 }]]);
  });

  it('when one gets through after an outage, the others follow at once', async () => {
    const { stage, says } = await createKnownStage();
    says(async () => {
      throw down(1000);
    });
    await Promise.all([revoke(stage, 't'), revoke(stage, 'u')]);
    await stage.clock.advance(3000 * 1000);
    says(async () => 'accepted');
    expect(await waiting(stage)).toBe(2);
    expect(await revoke(stage, 'v')).toMatchObject({ forwarding: 'accepted' });
    await settled();
    expect(await waiting(stage)).toBe(0);
  });

  it('one revocation that it cannot swallow does not hold up the others', async () => {
    const { stage, told, says } = await createKnownStage();
    says(async (raw) => {
      if (raw === 't') throw down();
      return 'accepted';
    });
    await revoke(stage, 't');
    expect(await revoke(stage, 'u')).toMatchObject({ forwarding: 'accepted' });
    expect(await revoke(stage, 'v')).toMatchObject({ forwarding: 'accepted' });
    expect([told, await waiting(stage)]).toEqual([['t', 'u', 'v'], 1]);
  });
});

describe('a retry', () => {
  it('is told that the authority has accepted it, which is not told again', async () => {
    const { stage, told } = await createKnownStage();
    const first = await revoke(stage, 't', 'r1');
    const again = [await revoke(stage, 't', 'r1'), await revoke(stage, 't'), await stage.revokeToken('t', { requestId: 'r1' })];
    expect(again.map(({ entryId, forwarding }) => [entryId, forwarding])).toEqual([
      [first.entryId, 'accepted'],
      [first.entryId, 'accepted'],
      [first.entryId, undefined],
    ]);
    expect([told, stage.journal.count()]).toEqual([['t'], 2]);
  });

  it('has it told at once where it waits, with one letter', async () => {
    const { stage, told, says } = await createKnownStage();
    says(async () => {
      throw down();
    });
    await revoke(stage, 't');
    await stage.clock.advance(10_000);
    says(async () => 'accepted');
    expect(await waiting(stage)).toBe(1);
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'accepted' });
    // At 0, 1, 3 and 7 s, and now.
    expect([told.length, await waiting(stage)]).toEqual([5, 0]);
  });

  it('of a token that was killed without telling tells it', async () => {
    const { stage, told } = await createKnownStage();
    await stage.revokeToken('t', {}, 'tcp', 'never');
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'accepted' });
    expect([told, stage.journal.count()]).toEqual([['t'], 2]);
  });

  it('two at once are one letter, and both are told', async () => {
    const { stage, says } = await createKnownStage();
    let answer: (said: 'accepted') => void = () => undefined;
    says(() => new Promise((resolve) => (answer = resolve)));
    const replies = Promise.all([revoke(stage, 't'), revoke(stage, 't')]);
    await settled();
    expect(await waiting(stage)).toBe(1);
    answer('accepted');
    expect(await replies).toMatchObject([{ forwarding: 'accepted' }, { forwarding: 'accepted' }]);
  });
});

describe('what cannot be kept', () => {
  /** An outbox that breaks when a test says so. */
  function createBrittle(): { readonly outbox: Outbox; breaks: boolean } {
    const { outbox } = createMemoryJournal({ clock: createFakeClock() });
    const failure = new SidecarError('UNAVAILABLE', 'the journal could not be written', { reason: 'JOURNAL_FAILED' });
    const brittle = {
      breaks: false,
      outbox: {
        ...outbox,
        put: (id: string, record: Uint8Array) => (brittle.breaks ? Promise.reject(failure) : outbox.put(id, record)),
        remove: (id: string) => (brittle.breaks ? Promise.reject(failure) : outbox.remove(id)),
      },
    };
    return brittle;
  }

  it('is an error that says that the token is dead here; a retry tells the authority', async () => {
    const brittle = createBrittle();
    const { stage, told } = await createKnownStage({ outbox: brittle.outbox });
    brittle.breaks = true;
    await expect(revoke(stage, 't', 'r1')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      reason: 'JOURNAL_FAILED',
      message: expect.stringContaining('the token is dead here'),
    });
    expect([verdict(await stage.ask('t')), told]).toEqual(['REVOKED', []]);

    brittle.breaks = false;
    expect(await revoke(stage, 't', 'r1')).toMatchObject({ forwarding: 'accepted' });
    expect(told).toEqual(['t']);
  });

  it('a letter that is done, but cannot be taken out, is said; the reply is what the authority said', async () => {
    const brittle = createBrittle();
    const { stage, says } = await createKnownStage({ outbox: brittle.outbox });
    says(async () => {
      brittle.breaks = true;
      return 'accepted';
    });
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'accepted' });
    expect(stage.telemetry.lines).toMatchObject([{ level: 'error', message: expect.stringContaining('outbox') }]);
  });

  it('RESOURCE_EXHAUSTED when the outbox is full, and the token is dead here: one below, at, and one above', async () => {
    const { stage, says, told } = await createKnownStage({ outboxLimits: { letters: 2, sizeBytes: 1_000_000 } });
    says(async () => {
      throw down();
    });
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'pending' });
    expect(await revoke(stage, 'u')).toMatchObject({ forwarding: 'pending' });
    await expect(revoke(stage, 'v')).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      reason: 'OUTBOX_FULL',
      retryAfterMs: 60_000,
      message: expect.stringContaining('the token is dead here'),
    });
    expect([verdict(await stage.ask('v')), told.includes('v')]).toEqual(['REVOKED', false]);
    // What waits already is not one more.
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'pending' });

    says(async () => 'accepted');
    await stage.clock.advance(10_000);
    expect(await revoke(stage, 'v')).toMatchObject({ forwarding: 'accepted' });
  });

  it('strangers, of whose tokens only the shape is known, fill half of it at most', async () => {
    const authority = createAuthority();
    const stage = await createStage({ issuers: [authority.fake], outboxLimits: { letters: 4, sizeBytes: 1_000_000 } });
    authority.fake.knows('good', { identity: 'audit' });
    await stage.ask('good');
    authority.fake.isDown(down());
    authority.says(async () => {
      throw down();
    });
    // A letter to tell it, and one to learn of it.
    expect(await revoke(stage, 'made-up-1')).toMatchObject({ forwarding: 'pending' });
    await expect(revoke(stage, 'made-up-2')).rejects.toMatchObject({ reason: 'OUTBOX_FULL' });
    expect(await revoke(stage, 'good')).toMatchObject({ forwarding: 'pending' });
    expect(stage.telemetry.lines.filter(({ message }) => message.includes('is not learned'))).toHaveLength(1);
  });
});

describe('strangers', () => {
  it('S4 tell the authority of what nobody has verified as often as the budget allows, and no more by asking again', async () => {
    const authority = createAuthority();
    const stage = await createStage({ issuers: [authority.fake], unverified: { perSecond: 2, alive: 100 } });
    authority.says(async () => 'rejected');
    const tooMany = { code: 'RESOURCE_EXHAUSTED', reason: 'TOO_MANY_UNVERIFIED' };
    expect(await revoke(stage, 'made-up')).toMatchObject({ forwarding: 'rejected' });
    expect(await revoke(stage, 'made-up')).toMatchObject({ forwarding: 'rejected' });
    await expect(revoke(stage, 'made-up')).rejects.toMatchObject(tooMany);
    expect(authority.told).toHaveLength(2);
    await stage.clock.advance(1000);
    expect(await revoke(stage, 'made-up')).toMatchObject({ forwarding: 'rejected' });
  });
});

describe('a made-up token that is revoked again and again', () => {
  it('is alive once', async () => {
    const authority = createAuthority();
    const stage = await createStage({ issuers: [authority.fake], unverified: { perSecond: 1000, alive: 2 } });
    authority.says(async () => 'rejected');
    for (let n = 0; n < 5; n += 1) expect(await revoke(stage, 'made-up')).toMatchObject({ forwarding: 'rejected' });
    expect([stage.journal.count(), authority.told.length]).toEqual([1, 5]);
  });
});

describe('a restart', () => {
  async function createStopped(options: Partial<StageOptions> = {}) {
    const authority = createAuthority();
    const first = await createValidationStage({ issuers: [authority.fake], ...options });
    for (const raw of ['t', 'u']) {
      authority.fake.knows(raw, { identity: `audit-${raw}` });
      await first.ask(raw);
    }
    authority.says(async () => {
      throw down();
    });
    await revoke(first, 't', 'r1');
    await revoke(first, 'u');
    await first.close();
    authority.says(async () => 'accepted');
    authority.told.splice(0);
    return { authority, first };
  }

  it('finds what waits, and tells it', async () => {
    const { authority, first } = await createStopped();
    const stage = await createStage({ issuers: [authority.fake], before: first });
    await settled();
    expect([authority.told.toSorted(), await waiting(stage)]).toEqual([['t', 'u'], 0]);
    expect(stage.telemetry.audits.map(({ outcome }) => outcome)).toEqual(['forwarded: accepted', 'forwarded: accepted']);
    expect(stage.forwarding.status()).toMatchObject([{ accepted: 2, pending: 0 }]);
  });

  it('tries an authority that is still away with a few of them, not with all', async () => {
    const authority = createAuthority();
    const first = await createValidationStage({ issuers: [authority.fake] });
    authority.says(async () => {
      throw down();
    });
    for (let n = 0; n < 10; n += 1) {
      authority.fake.knows(`n${n}`);
      await first.ask(`n${n}`);
      await revoke(first, `n${n}`);
    }
    await first.close();
    authority.told.splice(0);
    const stage = await createStage({ issuers: [authority.fake], before: first });
    await settled();
    expect([authority.told.length, stage.forwarding.pendingCount]).toEqual([2, 10]);
  });

  it('with another newest deployment key too, and a retry is no second letter', async () => {
    const older = { id: 'older', secret: Buffer.alloc(32, 1) };
    const newer = { id: 'newer', secret: Buffer.alloc(32, 2) };
    const { authority, first } = await createStopped({ keys: [older] });
    authority.says(() => new Promise(() => undefined));
    const stage = await createStage({ issuers: [authority.fake], before: first, keys: [newer, older] });
    await settled();
    const retry = revoke(stage, 't');
    await stage.clock.advance(1000);
    expect([await retry, authority.told.toSorted(), await waiting(stage)]).toMatchObject([{ forwarding: 'pending' }, ['t', 'u'], 2]);
  });

  it('of which the key is gone, keeps it, counts it and says it; it is dropped at its end', async () => {
    const { authority, first } = await createStopped();
    const [record] = await first.journal.outbox.list();
    // The entries are under the key that is there; the letters are not.
    await first.journal.outbox.put('f'.repeat(32), Buffer.from('of another version'));
    await first.journal.outbox.put(record?.id ?? '', replaced(record?.record, '"keyId":"k1"', '"keyId":"k0"'));
    const stage = await createStage({ issuers: [authority.fake], before: first });
    await settled();
    expect([authority.told.length, await waiting(stage), stage.forwarding.pendingCount, stage.forwarding.unreadableCount]).toEqual([
      1, 2, 2, 2,
    ]);
    expect(stage.forwarding.status()).toMatchObject([{ issuer: 'central', pending: 1 }]);
    expect(stage.telemetry.lines).toMatchObject([
      { level: 'error', fields: { letters: 2 }, message: expect.stringContaining('put the key back') },
    ]);

    await stage.clock.advance(3 * 24 * hourMs);
    expect([await waiting(stage), stage.forwarding.status()]).toMatchObject([1, [{ pending: 0, expired: 1 }]]);
  });

  it('without the issuer keeps its letters, for when it is there again', async () => {
    const { authority, first } = await createStopped();
    const other = await createValidationStage({ issuers: [createFakeIssuer({ name: 'other' })], before: first });
    await other.clock.advance(hourMs);
    expect([other.forwarding.pendingCount, other.forwarding.status()]).toEqual([2, []]);
    await other.close();
    await createStage({ issuers: [authority.fake], before: first });
    await settled();
    expect(authority.told).toHaveLength(2);
  });

  it('in the middle of an attempt leaves the letter, and ends at once', async () => {
    const authority = createAuthority();
    const first = await createValidationStage({ issuers: [authority.fake] });
    authority.fake.knows('t', { identity: 'audit-t' });
    await first.ask('t');
    const signals: AbortSignal[] = [];
    authority.says((_raw, signal) => {
      signals.push(signal);
      return new Promise(() => undefined);
    });
    const reply = revoke(first, 't');
    await settled();
    await first.close();
    expect([await reply, signals.map((signal) => signal.aborted), await waiting(first)]).toMatchObject([
      { forwarding: 'pending' },
      [true],
      1,
    ]);
    expect(first.telemetry.lines).toEqual([]);

    authority.says(async () => 'accepted');
    const stage = await createStage({ issuers: [authority.fake], before: first });
    await settled();
    expect([authority.told, await waiting(stage)]).toEqual([['t', 't'], 0]);
  });
});

describe('a stop', () => {
  it('waits for the letter that is being taken out: the journal is closed after it', async () => {
    const { outbox } = createMemoryJournal({ clock: createFakeClock() });
    let go = (): void => undefined;
    const gone = new Promise<void>((resolve) => {
      go = resolve;
    });
    const authority = createAuthority();
    const held: Outbox = { ...outbox, remove: (id) => gone.then(() => outbox.remove(id)) };
    const stage = await createValidationStage({ issuers: [authority.fake], outbox: held });
    authority.fake.knows('t');
    await stage.ask('t');
    await revoke(stage, 't');
    let isClosed = false;
    const closing = stage.close().then(() => {
      isClosed = true;
    });
    await settled();
    expect([isClosed, (await outbox.list()).length]).toEqual([false, 1]);
    go();
    await closing;
    expect((await outbox.list()).length).toBe(0);
  });
});

describe('the end of a token', () => {
  it('ends the telling: it is dropped, counted and written down', async () => {
    const { stage, told, says, fake } = await createKnownStage();
    const endsAtMs = stage.clock.nowMs() + hourMs;
    fake.knows('short', { token: { issuedAtMs: stage.clock.nowMs(), expiresAtMs: endsAtMs } });
    await stage.ask('short');
    says(async () => {
      throw down();
    });
    await revoke(stage, 'short');
    await stage.clock.advance(hourMs + 1999);
    expect(await waiting(stage)).toBe(1);
    await stage.clock.advance(60_000);
    const tries = told.length;
    await stage.clock.advance(hourMs);
    expect([told.length, await waiting(stage)]).toEqual([tries, 0]);
    expect(stage.forwarding.status()).toMatchObject([{ pending: 0, expired: 1 }]);
    expect(stage.telemetry.audits).toMatchObject([{ outcome: 'forwarded: expired' }]);
  });

  it('does not come by a wall clock that jumps', async () => {
    const { stage, told, says } = await createKnownStage();
    says(async () => {
      throw down();
    });
    await revoke(stage, 't');
    stage.clock.stepWall(100 * 24 * hourMs);
    await stage.clock.advance(120_000);
    expect(await waiting(stage)).toBe(1);
    stage.clock.stepWall(-200 * 24 * hourMs);
    const before = told.length;
    await stage.clock.advance(300_000);
    expect(told.length).toBeGreaterThan(before);
    says(async () => 'accepted');
    await stage.clock.advance(300_000);
    expect(await waiting(stage)).toBe(0);
  });
});

describe('what else names a token that was not known (S4, S5)', () => {
  const identities = async (stage: ValidationStage): Promise<(string | undefined)[]> =>
    (await stage.journal.read(0 as Parameters<typeof stage.journal.read>[0], 1000)).map(({ entry }) =>
      entry.selector.kind === 'fit' ? `${entry.selector.conditions[0]?.dimension} ${entry.origin.requestId ?? ''}` : undefined,
    );

  it('is learned when the authority is back, and the letter is gone then', async () => {
    const stage = await createStage({});
    stage.central.isDown(down());
    await stage.revokeToken('t');
    expect([stage.forwarding.pendingCount, await waiting(stage)]).toEqual([1, 1]);
    expect(stage.forwarding.status()).toMatchObject([{ issuer: 'central', pending: 1 }]);
    stage.central.answers();
    stage.central.knows('t', { identity: 'audit-1' });
    stage.central.knows('respelt', { identity: 'audit-1' });
    await stage.clock.advance(2000);
    expect([await identities(stage), await waiting(stage), verdict(await stage.ask('respelt'))]).toEqual([
      ['fingerprint ', 'identity '],
      0,
      'REVOKED',
    ]);
  });

  it('is durable as a wish before the reply', async () => {
    const { outbox } = createMemoryJournal({ clock: createFakeClock() });
    let go = (): void => undefined;
    const written = new Promise<void>((resolve) => {
      go = resolve;
    });
    const stage = await createStage({ outbox: { ...outbox, put: (id, record) => written.then(() => outbox.put(id, record)) } });
    let isAnswered = false;
    const reply = stage.revokeToken('t').then(() => {
      isAnswered = true;
    });
    await settled();
    expect([isAnswered, stage.journal.count()]).toEqual([false, 1]);
    go();
    await reply;
  });

  it.each(['r1', ''])('is learned after a restart, once, of the request id %j', async (requestId) => {
    const central = createFakeIssuer();
    const older = { id: 'older', secret: Buffer.alloc(32, 1) };
    const newer = { id: 'newer', secret: Buffer.alloc(32, 2) };
    const first = await createValidationStage({ issuers: [central], keys: [older] });
    central.isDown(down());
    await first.revokeToken('t', { requestId });
    await first.close();
    const before = await first.journal.outbox.list();
    central.answers();
    central.knows('t', { identity: 'audit-1' });
    const second = await createValidationStage({ issuers: [central], before: first, keys: [older] });
    await settled();
    await second.close();
    // As after a crash between the entry and the end of the letter, and another key since.
    for (const { id, record } of before) await first.journal.outbox.put(id, record);
    const third = await createStage({ issuers: [central], before: first, keys: [newer, older] });
    await settled();
    expect([await identities(third), await waiting(third)]).toEqual([[`fingerprint ${requestId}`, `identity ${requestId}`], 0]);
  });

  it('S12 of a token without an identity is the length of its life, where that is longer than its issuer allows', async () => {
    const central = createFakeIssuer({ life: lifeRules({ maxTokenLifeMs: hourMs }) });
    const stage = await createStage({ issuers: [central] });
    const { issuedAtMs: _, ...token } = factsOf('central').token;
    const facts = { ...factsOf('central'), token: { ...token, expiresAtMs: stage.clock.nowMs() + 3 * hourMs } };
    central.script(() => ({ kind: 'facts', provenance: 'authority', facts }));
    await stage.revokeToken('t');
    await stage.clock.advance(2.5 * hourMs);
    expect(verdict(await stage.ask('t'))).toBe('REVOKED');
  });

  it('is not learned of what the authority does not know', async () => {
    const stage = await createStage({});
    await stage.revokeToken('made-up');
    await settled();
    expect([await identities(stage), await waiting(stage)]).toEqual([['fingerprint '], 0]);
  });

  it('is asked for again where the keys may be old', async () => {
    const corp = createFakeIssuer({ name: 'corp', provenance: 'signature' });
    const stage = await createStage({ issuers: [corp] });
    corp.script(() => ({ kind: 'inactive', reason: 'BAD_SIGNATURE', byOldKeys: true }));
    await stage.revokeToken('t');
    await settled();
    expect(await waiting(stage)).toBe(1);
    corp.script(() => ({ kind: 'inactive', reason: 'BAD_SIGNATURE' }));
    await stage.clock.advance(2000);
    expect(await waiting(stage)).toBe(0);
  });

  it('holds up no other letter, and is no failure of the authority, where the keys may be old', async () => {
    const { fake, told, says } = createAuthority({ name: 'corp', provenance: 'signature' });
    const stage = await createStage({ issuers: [fake] });
    fake.knows('t', { identity: 'audit-t' });
    await stage.ask('t');
    fake.script(() => ({ kind: 'inactive', reason: 'BAD_SIGNATURE', byOldKeys: true }));
    for (let n = 0; n < 8; n += 1) await stage.revokeToken(`made-up-${n}`);
    await settled();
    expect(await waiting(stage)).toBe(8);
    says(async () => {
      throw down();
    });
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'pending' });
    says(async () => 'accepted');
    // One failure of its own, and not nine.
    await stage.clock.advance(1000);
    expect([told, await waiting(stage)]).toEqual([['t', 't'], 8]);
    expect(stage.telemetry.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
  });

  it('is learned before the authority is told, at once and later: afterwards it knows the token no more', async () => {
    const authority = createAuthority();
    const stage = await createStage({ issuers: [authority.fake] });
    authority.says(async (raw) => {
      authority.fake.refuses(raw);
      return 'accepted';
    });
    authority.fake.knows('t', { identity: 'audit-t' });
    authority.fake.knows('u', { identity: 'audit-u' });
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'accepted' });
    expect(await identities(stage)).toEqual(['fingerprint ', 'identity ']);

    authority.fake.isDown(down());
    authority.says(async () => {
      throw down();
    });
    await revoke(stage, 'u');
    await stage.clock.advance(100_000);
    authority.fake.answers();
    authority.says(async (raw) => {
      authority.fake.refuses(raw);
      return 'accepted';
    });
    await stage.clock.advance(300_000);
    expect([(await identities(stage)).length, await waiting(stage)]).toEqual([4, 0]);
  });

  it('what cannot be learned does not keep the authority from being told', async () => {
    const authority = createAuthority();
    const stage = await createStage({ issuers: [authority.fake] });
    authority.fake.isDown(down());
    expect(await revoke(stage, 't')).toMatchObject({ forwarding: 'accepted' });
    expect([authority.told, await waiting(stage)]).toEqual([['t'], 1]);
  });
});

describe('whatever happens', () => {
  type Step =
    | { readonly kind: 'revoke'; readonly n: number }
    | { readonly kind: 'wait'; readonly ms: number }
    | { readonly kind: 'down' | 'up' | 'restart' };
  const steps = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('revoke' as const), n: fc.nat({ max: 5 }) }),
      fc.record({ kind: fc.constant('wait' as const), ms: fc.nat({ max: 400_000 }) }),
      fc.record({ kind: fc.constantFrom('down' as const, 'up' as const, 'restart' as const) }),
    ),
    { maxLength: 12 },
  );

  it('each revocation is told once the authority is there, and what it is told twice was not said to be accepted', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.boolean(), async (given, isKnown) => {
        const { fake, told, says } = createAuthority();
        const accepted = new Set<string>();
        let stage = await createValidationStage({ issuers: [fake], unverified: { perSecond: 1000, alive: 1000 } });
        const goes = (isUp: boolean): void => {
          if (isUp) fake.answers();
          else fake.isDown(down());
          says(async () => (isUp ? 'accepted' : Promise.reject(down())));
        };
        const restart = async (): Promise<void> => {
          await stage.close();
          accepted.clear();
          stage = await createValidationStage({ issuers: [fake], before: stage, unverified: { perSecond: 1000, alive: 1000 } });
        };
        for (let n = 0; n < 6; n += 1) {
          fake.knows(`n${n}`, { identity: `n${n}` });
          if (isKnown) await stage.ask(`n${n}`);
        }
        const revoked = new Set<string>();
        const take = async (step: Step): Promise<void> => {
          if (step.kind === 'wait') return stage.clock.advance(step.ms);
          if (step.kind === 'restart') return restart();
          if (step.kind !== 'revoke') return goes(step.kind === 'up');
          const raw = `n${step.n}`;
          revoked.add(raw);
          const before = told.length;
          const { forwarding } = await revoke(stage, raw);
          expect(told.slice(before).filter((one) => one === raw && accepted.has(one))).toEqual([]);
          if (forwarding === 'accepted') accepted.add(raw);
        };
        for (const step of given) await take(step);

        goes(true);
        await stage.clock.advance(600_000);
        expect([[...revoked].filter((raw) => !told.includes(raw)), await waiting(stage)]).toEqual([[], 0]);
        for (const raw of revoked) expect(verdict(await stage.ask(raw))).toBe('REVOKED');
        await stage.close();
      }),
      { numRuns: 40 },
    );
  });
});

describe('the token itself', () => {
  it('is nowhere on disk in clear, nor in a line, a metric or an error', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'sidegate-outbox-'));
    ends.push(() => rm(dir, { recursive: true, force: true }));
    const raw = `gAAAA-very-secret-${'0123456789'.repeat(30)}`;
    const clock = createFakeClock();
    const journal = await openLevelJournal({ dir, clock });
    const authority = createAuthority();
    const stage = await createValidationStage({ issuers: [authority.fake], before: { clock, journal } });
    authority.fake.isDown(down());
    authority.says(async () => {
      throw down();
    });
    await revoke(stage, raw, 'r1');
    const records = await journal.outbox.list();
    await stage.close();
    await journal.close();

    const files = await Promise.all((await readdir(dir)).map((name) => readFile(join(dir, name), 'latin1')));
    const disk = files.join('\n');
    // What is looked for would be found: the ids are there.
    expect([records.length, records.every(({ id }) => disk.includes(id))]).toEqual([2, true]);
    const inner = raw.slice(20, 60);
    const spellings = [inner, ...[0, 1, 2].map((shift) => Buffer.from(raw.slice(shift, shift + 60)).toString('base64'))];
    const everywhere = [disk, ...records.map(({ record }) => Buffer.from(record).toString('latin1')), stage.telemetry.everything()];
    for (const spelling of spellings) expect(everywhere.filter((text) => text.includes(spelling))).toEqual([]);
    expect(always.aborted).toBe(false);
  });
});

/** The same record with another head. */
function replaced(record: Uint8Array | undefined, from: string, to: string): Uint8Array {
  return Buffer.from(
    Buffer.from(record ?? [])
      .toString('latin1')
      .replace(from, to),
    'latin1',
  );
}
