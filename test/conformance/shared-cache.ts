// What every SharedCache must do, whoever keeps the records.

import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SharedCache } from '../../src/ports.ts';

/** A store that is up and empty, in the hands of the suite. Each test gets one of its own, or names of its own. */
export interface SharedCacheHarness {
  /** The tier as one more sidecar of the same deployment sees it. */
  open(): SharedCache;
  /** Moves the wall clock of all of them on, in milliseconds. */
  stepWall(ms: number): void;
  /** As a restart of the servers that keeps nothing. */
  forgetAll(): Promise<void>;
  /** From now on nobody answers. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

const day = 86_400_000;
const life = 60_000;

/** Runs the suite `name`. `makeHarness` starts a store. */
export function sharedCacheConformance(name: string, makeHarness: () => Promise<SharedCacheHarness>): void {
  describe(`${name} as a SharedCache`, () => {
    let harness: SharedCacheHarness;
    let ours: SharedCache;
    let theirs: SharedCache;
    /** Another for every test: a store may be shared with the test before. */
    let key: string;
    beforeEach(async () => {
      harness = await makeHarness();
      ours = harness.open();
      theirs = harness.open();
      key = `record ${randomBytes(8).toString('hex')}`;
    });
    afterEach(async () => {
      await ours.close();
      await theirs.close();
      await harness.close();
    });

    const kindOf = async (cache: SharedCache, of: string): Promise<string> => (await cache.get(of)).kind;

    it.each([
      ['no bytes', Buffer.alloc(0)],
      ['one byte', Buffer.from([0])],
      ['every byte', Buffer.from(Array.from({ length: 256 }, (_, n) => n))],
      ['line ends and what looks like a command', Buffer.from('VALUE x 0 3\r\nabc\r\nEND\r\nflush_all\r\n')],
      ['100 kB', randomBytes(100_000)],
    ])('%s comes back exactly, here and to another sidecar', async (_, value) => {
      expect(await ours.set(key, value, life)).toBe(true);

      expect(await ours.get(key)).toEqual({ kind: 'found', value: expect.any(Uint8Array) });
      for (const cache of [ours, theirs]) {
        const found = await cache.get(key);
        expect(Buffer.from(found.kind === 'found' ? found.value : []).equals(value)).toBe(true);
      }
    });

    it('what nobody stored is missing', async () => {
      expect(await ours.get(key)).toEqual({ kind: 'missing' });
    });

    it('a value that is stored again replaces the one before', async () => {
      await ours.set(key, Buffer.from('before'), life);
      await theirs.set(key, Buffer.from('after'), life);

      expect(text(await ours.get(key))).toBe('after');
    });

    it('changing the bytes afterwards changes nothing that is stored or was read', async () => {
      const value = Buffer.from('as it was');
      await ours.set(key, value, life);
      value.fill(0);
      const first = await ours.get(key);
      if (first.kind === 'found') first.value.fill(0);

      expect(text(await ours.get(key))).toBe('as it was');
    });

    it.each([
      ['an empty name', ''],
      ['1,000 characters', 'n'.repeat(1_000)],
      ['characters beyond ASCII', 'Ω≈ç√ 令牌 \u{1F511}'],
      ['a line end', 'one\r\ntwo\n'],
      ['a control character and a space', '\u0000 \u007f '],
    ])('a name may be anything: %s', async (_, odd) => {
      await ours.remove(odd);
      expect(await kindOf(ours, odd)).toBe('missing');
      expect(await ours.set(odd, Buffer.from(key), life)).toBe(true);

      expect(text(await theirs.get(odd))).toBe(key);
      expect(await kindOf(ours, `${odd} `)).toBe('missing');
      expect(await theirs.remove(odd)).toBe(true);
      expect(await kindOf(ours, odd)).toBe('missing');
    });

    it('of many that add at once one is told that it did, and its value is the one that is there', async () => {
      const caches = Array.from({ length: 4 }, () => harness.open());
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, n) => caches[n % caches.length]?.add(key, Buffer.from(String(n)), life)),
      );
      await Promise.all(caches.map((cache) => cache.close()));

      expect(answers.filter((answer) => answer === 'added')).toHaveLength(1);
      expect(answers.filter((answer) => answer === 'exists')).toHaveLength(39);
      expect(text(await ours.get(key))).toBe(String(answers.indexOf('added')));
    });

    it('what was stored keeps others from adding, until it is removed', async () => {
      await ours.set(key, Buffer.from('stored'), life);
      expect(await theirs.add(key, Buffer.from('added'), life)).toBe('exists');
      expect(text(await ours.get(key))).toBe('stored');
      await ours.remove(key);

      expect(await theirs.add(key, Buffer.from('added'), life)).toBe('added');
      expect(text(await ours.get(key))).toBe('added');
    });

    it.each([0, -1, Number.NEGATIVE_INFINITY, Number.NaN])('a life of %d ms is none: nothing is stored', async (lifeMs) => {
      expect(await ours.set(key, Buffer.from('x'), lifeMs)).toBe(false);
      expect(await ours.add(key, Buffer.from('x'), lifeMs)).toBe('unreachable');

      expect(await kindOf(ours, key)).toBe('missing');
    });

    it('what has ended is missing, to the millisecond, and not before', async () => {
      await ours.set(key, Buffer.from('x'), 90_000);
      harness.stepWall(89_000);
      expect(await kindOf(theirs, key)).toBe('found');
      harness.stepWall(1_000);

      expect(await kindOf(theirs, key)).toBe('missing');
    });

    it.each([
      ['30 days less a second', 30 * day - 1_000],
      ['30 days', 30 * day],
      ['30 days and a second', 30 * day + 1_000],
      ['a hundred years', 36_525 * day],
      ['for ever', Number.POSITIVE_INFINITY],
      ['a fraction of a millisecond over 5 s', 5_000.4],
    ])('a life of %s is not over at once', async (_, lifeMs) => {
      expect(await ours.set(key, Buffer.from('x'), lifeMs)).toBe(true);

      expect(await kindOf(theirs, key)).toBe('found');
    });

    it.each([
      { over: -1, stored: true },
      { over: 0, stored: true },
      { over: 1, stored: false },
    ])('a value of the largest size and $over is stored: $stored', async ({ over, stored }) => {
      const value = randomBytes(ours.largestValueBytes + over);

      expect(await ours.set(key, value, life)).toBe(stored);
      expect(await kindOf(theirs, key)).toBe(stored ? 'found' : 'missing');
      expect(await ours.add(`${key} lease`, value, life)).toBe(stored ? 'added' : 'unreachable');
      expect(await kindOf(theirs, `${key} lease`)).toBe(stored ? 'found' : 'missing');
    });

    it('what is removed is gone for everybody, and removing nothing is no failure', async () => {
      await ours.set(key, Buffer.from('x'), life);

      expect(await theirs.remove(key)).toBe(true);
      expect(await kindOf(ours, key)).toBe('missing');
      expect(await ours.remove(key)).toBe(true);
    });

    it('many questions at once each get their own answer', async () => {
      const names = Array.from({ length: 300 }, (_, n) => `${key} ${n}`);
      await Promise.all(names.map((name, n) => ours.set(name, Buffer.from(`value ${n}`), life)));
      const found = await Promise.all(names.map((name) => theirs.get(name)));

      expect(found.map(text)).toEqual(names.map((_, n) => `value ${n}`));
    });

    it('after the servers forgot everything it is missing, and can be stored again', async () => {
      await ours.set(key, Buffer.from('x'), life);
      await harness.forgetAll();

      expect(await kindOf(ours, key)).toBe('missing');
      expect(await ours.set(key, Buffer.from('y'), life)).toBe(true);
      expect(text(await theirs.get(key))).toBe('y');
    });

    it('when nobody answers it says so, of everything, and its health says it too', async () => {
      await ours.set(key, Buffer.from('x'), life);
      expect(ours.health().every(({ health }) => health.reachable)).toBe(true);
      await harness.stop();

      expect(await ours.get(key)).toEqual({ kind: 'unreachable' });
      expect(await ours.set(key, Buffer.from('y'), life)).toBe(false);
      expect(await ours.add(key, Buffer.from('y'), life)).toBe('unreachable');
      expect(await ours.remove(key)).toBe(false);
      expect(ours.health().some(({ health }) => !health.reachable && health.problem !== undefined)).toBe(true);
    });

    it('closed, it answers as if nobody were there', async () => {
      await ours.set(key, Buffer.from('x'), life);
      await ours.close();

      expect(await ours.get(key)).toEqual({ kind: 'unreachable' });
      expect(await ours.set(key, Buffer.from('y'), life)).toBe(false);
      expect(await ours.add(key, Buffer.from('y'), life)).toBe('unreachable');
      expect(await ours.remove(key)).toBe(false);
      expect(text(await theirs.get(key))).toBe('x');
    });
  });
}

function text(found: { readonly kind: string; readonly value?: Uint8Array }): string {
  return found.value === undefined ? found.kind : Buffer.from(found.value).toString();
}
