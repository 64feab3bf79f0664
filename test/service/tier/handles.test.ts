// Handles: a token's digest in its place, at any sidecar, for as long as the token lives (S5).

import { afterEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../../src/core/raw.ts';
import type { SharedCache } from '../../../src/ports.ts';
import type { Answer, More, Question } from '../../../src/service/question.ts';
import { digestOfHandle, handleOf } from '../../../src/service/tier/handles.ts';
import { createPlaces } from '../../../src/shared-cache/sealing.ts';
import { createFakeIssuer } from '../../fakes/issuer.ts';
import { createRegion, type Region, type RegionOptions } from '../sidecars.ts';
import type { ValidationStage } from '../validation-stage.ts';
import { settled, verdict } from '../validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function regionOf(options: RegionOptions = {}): Promise<Region> {
  const region = await createRegion(options);
  ends.push(() => region.close());
  return region;
}

const alice = { token: { user: { id: 'alice' }, roles: [] } };
const handle = handleOf(digestOf('t'));

const byHandle = (stage: ValidationStage, more: Partial<More> = {}, question: Partial<Question> = {}): Promise<Answer> =>
  stage.ask('', { ...question, more: { handle, ...more } });

/** A region whose first sidecar has asked about `t` of alice. */
async function askedOnce(options: RegionOptions = {}): Promise<Region> {
  const region = await regionOf(options);
  region.central.knows('t', alice);
  await region.first.ask('t');
  await settled();
  return region;
}

/** Takes the records of one kind out of the store, as an eviction does. */
async function evict({ store }: Region, kind: string): Promise<void> {
  const tier = store.open();
  for (const name of store.names().filter((one) => one.startsWith(`${kind} `))) await tier.remove(name);
}

describe('a handle', () => {
  it('is the digest in hex, whatever the case', () => {
    expect(handle).toMatch(/^[0-9a-f]{64}$/);
    expect(digestOfHandle(handle)).toBe(digestOf('t'));
    expect(digestOfHandle(handle.toUpperCase())).toBe(digestOf('t'));
  });

  it.each(['x', 'g'.repeat(64), '0'.repeat(63), '0'.repeat(65), `${'0'.repeat(63)}\n`, `${'0'.repeat(64)}\n`, '0x'.repeat(32)])(
    'S5 %j is none: INVALID_ARGUMENT',
    async (malformed) => {
      const region = await regionOf();

      await expect(region.first.ask('', { more: { handle: malformed } })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        reason: 'HANDLE_MALFORMED',
      });
      expect(region.store.calls).toEqual([]);
    },
  );

  it('S5 is answered at once where its facts are in memory, and nobody is asked, not even the tier', async () => {
    const region = await askedOnce();
    const before = region.store.calls.length;
    const answer = await byHandle(region.first);

    expect(answer).toMatchObject({ decision: { active: true }, provenance: 'MEMORY', maxAgeMs: 300_000 });
    expect(region.store.calls).toHaveLength(before);
  });

  it('S5 is answered at a second sidecar without a question to the authority', async () => {
    const region = await askedOnce();
    const answer = await byHandle(region.second);

    expect(answer).toMatchObject({ decision: { active: true }, provenance: 'SHARED' });
    expect(answer.fingerprint).toBe(region.first.facts.fingerprintOf(digestOf('t')));
    expect(region.central.reads).toEqual(['t']);
  });

  it('S5 survives its facts: they are fetched again with the raw token out of the tier', async () => {
    const region = await askedOnce();
    await region.clock.advance(300_000);
    const answer = await byHandle(region.second);

    expect(answer).toMatchObject({ decision: { active: true }, provenance: 'AUTHORITY' });
    expect(region.central.reads).toEqual(['t', 't']);
  });

  it('S5 ends with its token', async () => {
    const region = await askedOnce();
    await region.clock.advance(86_400_000);

    expect(verdict(await byHandle(region.second))).toBe('UNKNOWN_HANDLE');
    expect(region.store.names().filter((name) => name.startsWith('raw '))).toEqual([]);
  });

  it('S5 evicted is unknown where the facts have gone too', async () => {
    const region = await askedOnce();
    region.store.forgetAll();

    expect(await byHandle(region.second)).toMatchObject({ decision: { reason: 'UNKNOWN_HANDLE' }, known: undefined, maxAgeMs: 0 });
    expect(region.central.reads).toHaveLength(1);
  });

  it('S5 evicted serves as long as its facts do, in the tier', async () => {
    const region = await askedOnce();
    await evict(region, 'raw');
    expect(await byHandle(region.second)).toMatchObject({ decision: { active: true }, provenance: 'SHARED' });
    await region.clock.advance(298_000);

    expect(verdict(await byHandle(region.second))).toBe('UNKNOWN_HANDLE');
  });

  it('S5 nobody ever gave is unknown', async () => {
    const region = await askedOnce();

    expect(verdict(await region.first.ask('', { more: { handle: 'a'.repeat(64) } }))).toBe('UNKNOWN_HANDLE');
  });

  it('S5 is never said to be unknown while the tier cannot be asked', async () => {
    const region = await askedOnce();
    region.store.isDown();

    await expect(byHandle(region.second)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'HANDLE_NOT_AT_HAND', retryAfterMs: 1000 });
    expect(verdict(await byHandle(region.first))).toBe('active');
  });

  it.each(['raw', 'facts'])('S5 nor while only the server that would have its %s cannot be asked', async (kind) => {
    const region = await regionOf();
    const tier = region.store.open();
    const get: SharedCache['get'] = async (name) => (name.startsWith(`${kind} `) ? { kind: 'unreachable' } : tier.get(name));
    const stage = await region.join({ shared: { ...tier, get } });

    await expect(byHandle(stage)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'HANDLE_NOT_AT_HAND' });
  });

  it('S5 with facts in memory past their time and no tier: no answer', async () => {
    const region = await askedOnce();
    region.store.isDown();
    await region.clock.advance(300_000);

    await expect(byHandle(region.first)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(region.central.reads).toHaveLength(1);
  });

  it('S5 is refused where handles are off', async () => {
    const region = await regionOf({ handles: false });
    region.central.knows('t', alice);
    await region.first.ask('t');
    await settled();

    await expect(byHandle(region.first)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'HANDLES_OFF' });
    expect(region.store.names().filter((name) => name.startsWith('raw '))).toEqual([]);
  });

  it('S5 of a token that was revoked here, by its raw, is REVOKED: in memory, in the tier, and with the tier down', async () => {
    const region = await askedOnce();
    await region.second.revokeToken('t');
    expect(verdict(await byHandle(region.second))).toBe('REVOKED');
    const third = region.third;
    await third.revokeToken('t');
    await settled();
    region.store.isDown();
    expect(verdict(await byHandle(third))).toBe('REVOKED');
    region.store.isUp();

    expect(verdict(await byHandle(region.first))).toBe('active');
  });

  it('S5 of one that was revoked here before anybody knew it is REVOKED even where nothing is left of it', async () => {
    const region = await regionOf();
    region.central.isDown();
    await region.first.revokeToken('t');
    region.store.forgetAll();
    expect(verdict(await byHandle(region.first))).toBe('REVOKED');
    region.store.isDown();

    expect(verdict(await byHandle(region.first))).toBe('REVOKED');
  });

  it('S5 a REFRESH has its facts fetched again with the raw token of the tier', async () => {
    const region = await askedOnce();
    await region.first.refreshUser('alice');

    expect(await byHandle(region.first)).toMatchObject({ decision: { active: true }, provenance: 'AUTHORITY' });
    expect(region.central.reads).toEqual(['t', 't']);
  });

  it('S5 brings the catalog too', async () => {
    const region = await regionOf();
    region.central.hasCatalog('[{"type":"compute"}]');
    region.central.knows('t', { token: { ...alice.token, scope: { kind: 'system' } } });
    await region.first.ask('t');
    await settled();
    const answer = await byHandle(region.second, { catalog: true });

    expect(Buffer.from(answer.catalog ?? []).toString('utf8')).toBe('[{"type":"compute"}]');
    expect(region.central.questions.at(-1)).toMatchObject({ raw: 't', options: { catalog: true } });
  });
});

describe('a handle is judged as its token', () => {
  it('an entry that has to be applied first, and makes the facts stale meanwhile: the authority is asked about the token', async () => {
    const region = await askedOnce();
    const { journal } = region.first;
    const coming = byHandle(region.first, {}, { atLeastAsFresh: { cursor: { journal: journal.id, revision: 1 as never } } });
    await region.first.refreshUser('alice');
    const answer = await coming;

    expect(verdict(answer)).toBe('active');
    expect(region.central.reads).toEqual(['t', 't']);
    expect(verdict(await region.first.ask('t'))).toBe('active');
  });

  it('an entry that never comes is no answer, also where only the facts are in the tier', async () => {
    const region = await askedOnce();
    await evict(region, 'raw');
    const { journal } = region.second;
    const atLeastAsFresh = { cursor: { journal: journal.id, revision: 7 as never } };

    await expect(byHandle(region.second, {}, { atLeastAsFresh })).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' });
  });

  it('S16 a bad service token spoils it, also where only the facts are in the tier', async () => {
    const region = await askedOnce();
    expect(verdict(await byHandle(region.second, { serviceToken: 'bad' }))).toBe('BAD_SERVICE_TOKEN');
    await evict(region, 'raw');

    expect(verdict(await byHandle(region.third, { serviceToken: 'bad' }))).toBe('BAD_SERVICE_TOKEN');
  });

  it('S16 a service token is looked up while the facts run out of their time: the authority is asked about the token', async () => {
    const region = await askedOnce();
    region.central.knows('service', { token: { roles: [{ id: 's', name: 'service' }] } });
    await region.clock.advance(299_999);
    const held = region.central.hold();
    const answer = byHandle(region.first, { serviceToken: 'service' });
    await settled();
    await region.clock.advance(10);
    held.all();

    expect(verdict(await answer)).toBe('active');
    expect(region.central.reads.slice(1).sort()).toEqual(['service', 't']);
  });

  it('S16 an expired token by its handle and a good service token: its facts are fetched beyond its end, and nothing is spoilt', async () => {
    const central = createFakeIssuer({ expiredWithinMs: 86_400_000 });
    const region = await regionOf({ central });
    const endsAtMs = region.clock.nowMs() + 100_000;
    central.knows('t', { token: { ...alice.token, expiresAtMs: endsAtMs } });
    central.knows('service', { token: { roles: [{ id: 's', name: 'service' }] } });
    await region.first.ask('t');
    await settled();
    await region.clock.advance(100_001);
    central.saysEnded('t');
    const answer = await byHandle(region.first, { serviceToken: 'service' });

    expect(verdict(answer)).toBe('active');
    expect(central.questions.at(-1)).toMatchObject({ raw: 't', options: { allowExpired: true } });
  });

  it('max_staleness is kept to', async () => {
    const region = await askedOnce();
    await region.clock.advance(10_000);
    await byHandle(region.first, {}, { maxStalenessMs: 1000 });

    expect(region.central.reads).toEqual(['t', 't']);
  });

  it('a demand is judged', async () => {
    const region = await askedOnce();

    expect(verdict(await byHandle(region.second, {}, { demand: { scope: { kind: 'system' } } }))).toBe('WRONG_SCOPE');
  });

  it('every spelling of a Fernet token is one handle', async () => {
    const bytes = Buffer.alloc(57 + 16, 5);
    bytes.fill(0, 1, 5);
    bytes[0] = 0x80;
    const plain = bytes.toString('base64url');
    const region = await regionOf();
    region.central.knows(plain, alice);
    await region.first.ask(`${plain}==`);
    await settled();

    expect(verdict(await region.second.ask('', { more: { handle: handleOf(digestOf(plain)) } }))).toBe('active');
  });
});

describe('what the store holds of a handle', () => {
  it('S5 neither the raw token nor its digest, in clear', async () => {
    const raw = 'a-raw-token-that-nobody-else-has';
    const region = await regionOf();
    region.central.knows(raw, alice);
    await region.first.ask(raw);
    await settled();
    const digest = digestOf(raw);
    const forms = [raw, digest, handleOf(digest), Buffer.from(raw).toString('base64url'), Buffer.from(digest, 'latin1').toString('base64')];
    const [name = ''] = region.store.names().filter((one) => one.startsWith('raw '));
    const [place] = createPlaces([{ id: 'k', secret: Buffer.alloc(32, 1) }])(name);
    const bytes = `${name} ${Buffer.from(region.store.peek(name) ?? []).toString('latin1')}`;

    expect(forms.filter((form) => bytes.includes(form))).toEqual([]);
    expect(place.key).not.toContain(handleOf(digest));
  });

  it('S5 a record under another handle’s name opens as nothing', async () => {
    const region = await askedOnce();
    region.central.knows('u', alice);
    await region.first.ask('u');
    await settled();
    const names = region.store.names().filter((one) => one.startsWith('raw '));
    const [one = '', other = ''] = names;
    const [ofOne, ofOther] = [region.store.peek(one), region.store.peek(other)];
    const tier = region.store.open();
    await tier.set(one, ofOther ?? new Uint8Array(), 60_000);
    await tier.set(other, ofOne ?? new Uint8Array(), 60_000);
    await evict(region, 'facts');

    expect(verdict(await byHandle(region.second))).toBe('UNKNOWN_HANDLE');
    expect(verdict(await region.second.ask('', { more: { handle: handleOf(digestOf('u')) } }))).toBe('UNKNOWN_HANDLE');
  });

  it.each([new Uint8Array(), new Uint8Array(27), new Uint8Array(400)])(
    'S5 a record that was tampered with opens as nothing',
    async (bytes) => {
      const region = await askedOnce();
      const [name = ''] = region.store.names().filter((one) => one.startsWith('raw '));
      await region.store.open().set(name, bytes, 60_000);
      await evict(region, 'facts');

      expect(verdict(await byHandle(region.second))).toBe('UNKNOWN_HANDLE');
    },
  );

  it('S5 a token of 20 kB survives its facts too', async () => {
    const raw = `MII${'x'.repeat(20_000)}`;
    const region = await regionOf();
    region.central.knows(raw, alice);
    await region.first.ask(raw);
    await settled();
    await region.clock.advance(300_000);

    expect(verdict(await region.second.ask('', { more: { handle: handleOf(digestOf(raw)) } }))).toBe('active');
  });
});
