// The letters that wait: what is on disk of them, who can open them, and how many there may be.

import { describe, expect, it } from 'vitest';
import { createMemoryJournal } from '../../../src/journal/memory.ts';
import type { Outbox } from '../../../src/ports.ts';
import type { Letter, LetterHead } from '../../../src/service/telling/letter.ts';
import { Letters, type OutboxLimits } from '../../../src/service/telling/letters.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { createFakeTelemetry } from '../../fakes/telemetry.ts';

const older = { id: 'older', secret: Buffer.alloc(32, 1) };
const newer = { id: 'newer', secret: Buffer.alloc(32, 2) };
const asked = { actor: 'socket', caller: 'socket', requestId: 'r1', reason: 'left' };

const letterOf = (fingerprint: string, head: Partial<LetterHead> = {}, raw = `raw of ${fingerprint}`): Letter => ({
  head: { errand: 'forward', issuer: 'central', fingerprint, acceptedAtMs: 1000, endsAtMs: 2000, isVerified: true, asked, ...head },
  raw,
});

interface Options {
  readonly outbox?: Outbox;
  readonly keys?: ConstructorParameters<typeof Letters>[0]['keys'];
  readonly limits?: Partial<OutboxLimits>;
}

async function open({ outbox = newOutbox(), keys = [newer], limits }: Options = {}) {
  const telemetry = createFakeTelemetry();
  const letters = new Letters({ outbox, keys, telemetry, limits: { letters: 4, sizeBytes: 100_000, ...limits } });
  await letters.load();
  return { letters, outbox, telemetry };
}

const newOutbox = (): Outbox => createMemoryJournal({ clock: createFakeClock() }).outbox;
const full = { code: 'RESOURCE_EXHAUSTED', reason: 'OUTBOX_FULL' };
const rawsOf = (letters: Letters): (string | undefined)[] => letters.all().map((kept) => letters.open(kept));
const recordsIn = async (outbox: Outbox): Promise<string[]> =>
  (await outbox.list()).map(({ record }) => Buffer.from(record).toString('latin1'));

describe('a letter', () => {
  it('is there again after a restart, with all that was said of it, and an end that never comes', async () => {
    const { letters, outbox } = await open();
    await letters.put(letterOf('a', { errand: 'learn', isVerified: false }));
    await letters.put(letterOf('b', { endsAtMs: Number.POSITIVE_INFINITY }, 'é'));

    const again = await open({ outbox });
    expect(again.letters.all().map(({ envelope }) => envelope?.head)).toEqual([
      letterOf('a', { errand: 'learn', isVerified: false }).head,
      letterOf('b', { endsAtMs: Number.POSITIVE_INFINITY }).head,
    ]);
    expect([rawsOf(again.letters), again.letters.unreadable, again.telemetry.lines]).toEqual([['raw of a', 'é'], 0, []]);
  });

  it('has its token sealed, and the rest in clear', async () => {
    const { letters, outbox } = await open();
    await letters.put(letterOf('a'));
    const [record = ''] = await recordsIn(outbox);
    expect([record.includes('raw of'), record.includes('"issuer":"central"'), record.includes('"keyId":"newer"')]).toEqual([
      false,
      true,
      true,
    ]);
  });

  it('is one for each errand of a token: another of the same takes its place', async () => {
    const { letters, outbox } = await open();
    await letters.put(letterOf('a', { errand: 'learn' }));
    await letters.put(letterOf('a', { endsAtMs: 5 }));
    const kept = await letters.put(letterOf('a', { endsAtMs: 6 }));
    expect([letters.size, (await outbox.list()).map(({ id }) => id)]).toEqual([2, ['a forward', 'a learn']]);
    await letters.remove(kept);
    expect([letters.size, (await outbox.list()).map(({ id }) => id)]).toEqual([1, ['a learn']]);
  });
});

describe('a deployment key that is replaced', () => {
  it('still opens what it sealed, which the newest seals again: then the older one may go', async () => {
    const before = await open({ keys: [older] });
    await before.letters.put(letterOf('a'));
    const between = await open({ keys: [newer, older], outbox: before.outbox });
    expect(rawsOf(between.letters)).toEqual(['raw of a']);

    const after = await open({ keys: [newer], outbox: before.outbox });
    expect([rawsOf(after.letters), after.letters.unreadable]).toEqual([['raw of a'], 0]);
    expect((await open({ keys: [older], outbox: before.outbox })).letters.unreadable).toBe(1);
  });

  it('and is gone too early: the letter is kept, counted and said, and is there when the key is back', async () => {
    const before = await open({ keys: [older] });
    await before.letters.put(letterOf('a'));
    const without = await open({ keys: [newer], outbox: before.outbox });
    expect([without.letters.size, without.letters.unreadable, rawsOf(without.letters)]).toEqual([1, 1, [undefined]]);
    expect(without.telemetry.lines).toMatchObject([{ level: 'error', fields: { letters: 1 } }]);
    expect(rawsOf((await open({ keys: [newer, older], outbox: before.outbox })).letters)).toEqual(['raw of a']);
  });

  it('under the same name with another secret opens nothing', async () => {
    const before = await open({ keys: [older] });
    await before.letters.put(letterOf('a'));
    const { letters } = await open({ keys: [{ ...newer, id: 'older' }], outbox: before.outbox });
    expect([rawsOf(letters), letters.unreadable]).toEqual([[undefined], 1]);
  });
});

describe('a record that somebody has changed', () => {
  it.each([
    { what: 'its end', from: '"endsAtMs":2000', to: '"endsAtMs":9000' },
    { what: 'its issuer', from: '"issuer":"central"', to: '"issuer":"strange"' },
    { what: 'its version', from: '"v":1', to: '"v":2' },
    { what: 'its token', from: /.$/s, to: '\u0000\u0001' },
    { what: 'everything', from: /^.*$/s, to: 'no record' },
  ])('$what: is not read', async ({ from, to }) => {
    const { letters, outbox } = await open();
    await letters.put(letterOf('a'));
    const [record = ''] = await recordsIn(outbox);
    await outbox.put('a forward', Buffer.from(record.replace(from, to), 'latin1'));
    const again = await open({ outbox });
    expect([again.letters.size, again.letters.unreadable]).toEqual([1, 1]);
  });

  it('or put in the place of another is not read there', async () => {
    const { letters, outbox } = await open();
    await letters.put(letterOf('a'));
    const [record = ''] = await recordsIn(outbox);
    await outbox.put('b forward', Buffer.from(record, 'latin1'));
    const again = await open({ outbox });
    expect(again.letters.all().map(({ id, isReadable }) => [id, isReadable])).toEqual([
      ['a forward', true],
      ['b forward', false],
    ]);
  });
});

describe('the limits', () => {
  it('one below, at, and one above the number of letters; together too; and again when one is gone', async () => {
    const { letters } = await open({ limits: { letters: 3 } });
    await letters.put(letterOf('a'));
    const results = await Promise.allSettled(['b', 'c', 'd'].map((fingerprint) => letters.put(letterOf(fingerprint))));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(results[2]).toMatchObject({ reason: full });
    await letters.put(letterOf('b', { endsAtMs: 7 }));
    const [first] = letters.all();
    await Promise.all(first ? [letters.remove(first)] : []);
    await letters.put(letterOf('d'));
    expect(letters.size).toBe(3);
  });

  it('at, and one above the bytes of all records', async () => {
    const probe = await open();
    const { sizeBytes } = await probe.letters.put(letterOf('a'));
    const { letters } = await open({ limits: { sizeBytes: 2 * sizeBytes } });
    await letters.put(letterOf('a'));
    await expect(letters.put(letterOf('b', {}, 'raw of b!'))).rejects.toMatchObject(full);
    await letters.put(letterOf('b'));
    expect(letters.size).toBe(2);
  });

  it('of what only the shape is known of, half', async () => {
    const { letters, outbox } = await open({ limits: { letters: 4 } });
    const unverified = { isVerified: false };
    await letters.put(letterOf('a', unverified));
    await letters.put(letterOf('b', unverified));
    await expect(letters.put(letterOf('c', unverified))).rejects.toMatchObject(full);
    await letters.put(letterOf('c'));
    // Also after a restart.
    const again = await open({ outbox, limits: { letters: 4 } });
    await expect(again.letters.put(letterOf('d', unverified))).rejects.toMatchObject(full);
    await again.letters.put(letterOf('d'));
  });

  it('what could not be written does not count', async () => {
    const inner = newOutbox();
    let breaks = true;
    const outbox: Outbox = { ...inner, put: (id, record) => (breaks ? Promise.reject(new Error('EIO')) : inner.put(id, record)) };
    const { letters } = await open({ outbox, limits: { letters: 1 } });
    await expect(letters.put(letterOf('a'))).rejects.toThrow('EIO');
    breaks = false;
    await letters.put(letterOf('b'));
    expect(letters.size).toBe(1);
  });
});
