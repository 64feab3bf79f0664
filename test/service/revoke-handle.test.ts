// Revoke by the handle of a token: whatever of it is known here, in the shared tier, or nowhere (S4, S5).

import { afterEach, describe, expect, it } from 'vitest';
import type { PlacedEntry } from '../../src/core/invalidation.ts';
import { digestOf } from '../../src/core/raw.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import { handleOf } from '../../src/service/tier/handles.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeIssuer, type FakeIssuerOptions } from '../fakes/issuer.ts';
import { createFakeSharedStore } from '../fakes/shared-cache.ts';
import { createValidationStage, type StageOptions, settled, type ValidationStage, verdict } from './validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const hourMs = 3_600_000;
const handle = handleOf(digestOf('t'));
const entriesOf = (stage: ValidationStage): Promise<PlacedEntry[]> =>
  stage.journal.read(0 as Parameters<typeof stage.journal.read>[0], 1000);
const namesOf = async (stage: ValidationStage): Promise<string[]> =>
  (await entriesOf(stage)).map(({ entry: { selector } }) =>
    selector.kind === 'fit' ? `${selector.issuer ?? 'any'} ${selector.conditions[0]?.dimension}` : 'everything',
  );

/** Sidecars of one deployment: a tier that they share, and an authority that knows `t` and can be told. */
function createRegion(options: FakeIssuerOptions = {}) {
  const clock = createFakeClock();
  const store = createFakeSharedStore(clock);
  const told: string[] = [];
  const issuer = createFakeIssuer({
    revoke: async (raw) => {
      told.push(raw);
      return 'accepted';
    },
    ...options,
  });
  issuer.knows('t', { identity: 'audit-1', token: { expiresAtMs: clock.nowMs() + hourMs } });
  const sidecar = async (more: Partial<StageOptions> = {}): Promise<ValidationStage> => {
    const before = { clock, journal: createMemoryJournal({ clock }) };
    const stage = await createValidationStage({ issuers: [issuer], shared: store.open(), before, ...more });
    ends.push(() => stage.close());
    return stage;
  };
  return { clock, store, issuer, told, sidecar };
}

describe('the handle of a token', () => {
  it('whose facts are in memory kills it under all its names, and its authority is told', async () => {
    const { sidecar, told } = createRegion();
    const stage = await sidecar();
    await stage.ask('t');

    expect(await stage.revokeHandle(handle.toUpperCase(), 'always')).toMatchObject({ forwarding: 'accepted' });
    expect([await namesOf(stage), told, verdict(await stage.ask('t'))]).toEqual([
      ['central fingerprint', 'central identity'],
      ['t'],
      'REVOKED',
    ]);
  });

  it('that another sidecar has given does the same here, without asking the authority', async () => {
    const { sidecar, told, issuer, clock } = createRegion();
    const [one, other] = [await sidecar(), await sidecar()];
    // Facts from before a journal was born are of no use beside it.
    await clock.advance(10_000);
    await one.ask('t');
    await settled();
    const asked = issuer.reads.length;

    expect(await other.revokeHandle(handle, 'always')).toMatchObject({ forwarding: 'accepted' });
    expect([await namesOf(other), told, issuer.reads.length]).toEqual([['central fingerprint', 'central identity'], ['t'], asked]);
  });

  it('survives its facts: the token is killed as one of which the shape is known, and the rest is learned', async () => {
    const { sidecar, told, store } = createRegion();
    await (await sidecar()).ask('t');
    await settled();
    for (const name of store.names().filter((one) => one.startsWith('facts '))) store.corrupt(name);
    const other = await sidecar();

    expect(await other.revokeHandle(handle, 'always')).toMatchObject({ forwarding: 'accepted' });
    expect([await namesOf(other), told]).toEqual([['central fingerprint', 'central identity'], ['t']]);
  });

  it('of which nobody knows anything kills by the fingerprint alone, whichever issuer it is of, and once', async () => {
    const { sidecar, issuer } = createRegion();
    const stage = await sidecar();

    const done = await stage.revokeHandle(handle);
    expect([await namesOf(stage), done.forwarding, issuer.reads.length]).toEqual([['any fingerprint'], undefined, 0]);
    expect(await stage.revokeHandle(handle)).toMatchObject({ entryId: done.entryId });
    expect([verdict(await stage.ask('t')), stage.journal.count()]).toEqual(['REVOKED', 1]);
  });

  it('of which nobody knows anything costs of the budget of what nobody has verified', async () => {
    const { sidecar } = createRegion();
    const stage = await sidecar({ unverified: { perSecond: 2, alive: 100 } });
    await stage.revokeHandle('a'.repeat(64));
    await stage.revokeHandle('b'.repeat(64));
    await expect(stage.revokeHandle('c'.repeat(64))).rejects.toMatchObject({ reason: 'TOO_MANY_UNVERIFIED' });
  });

  it('is killed, and then it is said that its authority cannot be told, where nobody has the token', async () => {
    const { sidecar, store } = createRegion();
    const stage = await sidecar();
    const cannot = { reason: 'CANNOT_FORWARD', message: expect.stringContaining('the token is dead here') };
    await expect(stage.revokeHandle(handle, 'always')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', ...cannot });
    store.isDown();
    const unreachable = stage.revokeHandle(handle, 'always');
    await expect(unreachable).rejects.toMatchObject({ code: 'UNAVAILABLE', retryAfterMs: 1000, ...cannot });
    expect(await namesOf(stage)).toEqual(['any fingerprint']);

    // Once the tier has it, a retry tells it.
    store.isUp();
    await (await sidecar()).ask('t');
    await settled();
    expect(await stage.revokeHandle(handle, 'always')).toMatchObject({ forwarding: 'accepted' });
  });

  it('is killed by its facts where no handles are kept; the authority cannot be told, which is said where it is to be', async () => {
    const { sidecar } = createRegion({ revokeUpstream: true });
    const stage = await sidecar({ handles: false });
    await stage.ask('t');

    await expect(stage.revokeHandle(handle)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'CANNOT_FORWARD' });
    expect(await namesOf(stage)).toEqual(['central fingerprint', 'central identity']);
    expect((await stage.revokeHandle(handle, 'never')).forwarding).toBeUndefined();
  });

  it('of an issuer that cannot be told is refused before anything is done, where that is demanded', async () => {
    const clock = createFakeClock();
    const issuer = createFakeIssuer();
    issuer.knows('t');
    const stage = await createValidationStage({ issuers: [issuer], before: { clock, journal: createMemoryJournal({ clock }) } });
    ends.push(() => stage.close());
    await stage.ask('t');

    await expect(stage.revokeHandle(handle, 'always')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'CANNOT_FORWARD' });
    expect(stage.journal.count()).toBe(0);
  });

  it.each([true, false])('of a token that has ended is done without an entry (with its handle kept: %s)', async (handles) => {
    const { sidecar, clock, told, issuer } = createRegion();
    issuer.knows('t', { token: { expiresAtMs: clock.nowMs() + 60_000 } });
    const stage = await sidecar({ handles });
    await stage.ask('t');
    await clock.advance(62_000);

    expect(await stage.revokeHandle(handle, 'always')).toMatchObject({ entryId: '' });
    expect([stage.journal.count(), told]).toEqual([0, []]);
  });

  it('whose facts are past their time kills for the longest life: its authority may have moved the end that they tell', async () => {
    const { sidecar, clock, issuer } = createRegion();
    issuer.knows('t', { token: { expiresAtMs: clock.nowMs() + 60_000 } });
    const stage = await sidecar({ handles: false });
    await stage.ask('t');
    await clock.advance(301_000);

    await stage.revokeHandle(handle);
    expect((await entriesOf(stage))[0]?.entry.forgetAtMs).toBeGreaterThanOrEqual(clock.nowMs() + issuer.issuer.life.maxTokenLifeMs);
  });

  it.each(['', 'x', 'a'.repeat(63), 'a'.repeat(65), 'g'.repeat(64)])('that is none is refused: %j', async (malformed) => {
    const stage = await createRegion().sidecar();
    await expect(stage.revokeHandle(malformed)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'HANDLE_MALFORMED' });
    await settled();
    expect(stage.journal.count()).toBe(0);
  });
});
