// What tokens that Keystone vouches for say about the keys at hand, and what is made of tokens that these do not open.

import { describe, expect, it } from 'vitest';
import { KeyProof } from '../../src/formats/key-proof.ts';
import { createFakeClock } from '../fakes/clock.ts';

const [k1, k2, k3] = [{ id: 'k1' }, { id: 'k2' }, { id: 'k3' }];
const set = (generation: number, ...keys: { readonly id: string }[]) => ({ keys, generation });
const first = set(1, k1, k2);

function fernet() {
  const clock = createFakeClock();
  const now = clock.nowMs();
  return { clock, now, proof: new KeyProof({ oneAtATime: true, skewMs: 2_000 }, clock) };
}

describe('keys of which nothing is shown yet', () => {
  it('have every token asked about that they do not open, however many', () => {
    const { proof, now } = fernet();
    for (let n = 0; n < 100; n += 1) expect(proof.judge(now - 1_000_000, first)).toBe('ask');
    expect([proof.isProven(first), proof.isOutOfStep]).toEqual([false, false]);
  });
});

describe('keys that have opened a token that Keystone vouches for', () => {
  it('call wrongly signed what claims to be from between them, or as old as one of them, without a question', () => {
    const { proof, now } = fernet();
    proof.opened(k1, now - 5_000, first);
    proof.opened(k2, now - 60_000, first);
    for (const agoMs of [5_000, 5_001, 30_000, 59_999, 60_000]) expect(proof.judge(now - agoMs, first)).toBe('wrong');
    for (let n = 0; n < 100; n += 1) expect(proof.judge(now - 5_000 - n * 500, first)).toBe('wrong');
  });

  it.each([
    ['younger than all of them', 4_000],
    ['older than all of them', 61_000],
  ])('have what claims to be %s asked about, eight at once and one a second', async (_, agoMs) => {
    const { proof, now, clock } = fernet();
    proof.opened(k1, now - 60_000, first);
    proof.opened(k1, now - 5_000, first);
    const judged = (count: number) => Array.from({ length: count }, () => proof.judge(now - agoMs, first));

    expect(judged(7)).toEqual(Array(7).fill('ask'));
    expect(judged(3)).toEqual(['ask', 'wrong', 'wrong']);
    await clock.advance(999);
    expect(judged(1)).toEqual(['wrong']);
    await clock.advance(1);
    expect(judged(2)).toEqual(['ask', 'wrong']);
    await clock.advance(3_600_000);
    expect(judged(9)).toEqual([...Array(8).fill('ask'), 'wrong']);
  });

  it('have one of those from between asked about each 30 s', async () => {
    const { proof, now, clock } = fernet();
    proof.opened(k1, now - 60_000, first);
    proof.opened(k1, now, first);
    const judged = () => [proof.judge(now - 1_000, first), proof.judge(now - 1_000, first)];

    expect(judged()).toEqual(['wrong', 'wrong']);
    await clock.advance(29_999);
    expect(judged()).toEqual(['wrong', 'wrong']);
    await clock.advance(1);
    expect(judged()).toEqual(['ask', 'wrong']);
    await clock.advance(30_000);
    expect(judged()).toEqual(['ask', 'wrong']);
  });

  it('have nothing asked about that could not be valid yet: most of what is made up', () => {
    const { proof, now } = fernet();
    proof.opened(k1, now, first);
    for (let n = 0; n < 100; n += 1) expect(proof.judge(now + 2_001 + n, first)).toBe('wrong');
    expect(proof.judge(now + 2_000, first)).toBe('ask');
  });

  it('show nothing of others where several keys sign at a time', () => {
    const clock = createFakeClock();
    const now = clock.nowMs();
    const proof = new KeyProof({ oneAtATime: false, skewMs: 0 }, clock);
    proof.opened(k1, now - 60_000, first);
    proof.opened(k1, now, first);
    const judged = (at: number | undefined, count: number) => Array.from({ length: count }, () => proof.judge(at, first));
    expect(judged(now - 1_000, 9)).toEqual([...Array(8).fill('ask'), 'wrong']);
    expect(judged(undefined, 9)).toEqual([...Array(8).fill('ask'), 'wrong']);
  });

  it('have the younger ones asked about however many older ones somebody brings', () => {
    const { proof, now } = fernet();
    proof.opened(k1, now - 5_000, first);
    for (let n = 0; n < 100; n += 1) proof.judge(now - 100_000, first);
    expect(proof.judge(now - 100_000, first)).toBe('wrong');
    expect(proof.judge(now - 4_000, first)).toBe('ask');
  });

  it('go on as proven by a rotation that keeps the key, and not by one that drops it', () => {
    const { proof, now } = fernet();
    const between = now - 1_000;
    proof.opened(k1, now - 5_000, first);
    proof.opened(k1, now, first);
    expect(proof.judge(between, set(2, k3, k1))).toBe('wrong');
    expect(proof.isProven(set(3, k3, k2))).toBe(false);
    for (let n = 0; n < 100; n += 1) expect(proof.judge(between, set(3, k3, k2))).toBe('ask');
    // A key that has left proves nothing of those that are here.
    proof.opened(k1, now, set(3, k3, k2));
    expect(proof.isProven(set(3, k3, k2))).toBe(false);
    proof.opened(k3, now + 1_000, set(3, k3, k2));
    expect(proof.isProven(set(3, k3, k2))).toBe(true);
  });

  it('reach back no further than those that are still here: what one that has gone had opened is asked about', () => {
    const { proof, now } = fernet();
    proof.opened(k2, now - 60_000, first);
    proof.opened(k1, now - 5_000, first);
    expect(proof.judge(now - 30_000, first)).toBe('wrong');
    expect(proof.judge(now - 30_000, set(2, k1))).toBe('ask');
  });
});

describe('keys that do not open a token that Keystone vouches for', () => {
  it('are out of step, and everything is asked about, whatever it claims', () => {
    const { proof, now } = fernet();
    proof.opened(k1, now, first);
    proof.unopened({ issuedAtMs: now - 60_000, endsAtMs: now + 3_600_000 }, first);

    expect(proof.isOutOfStep).toBe(true);
    for (const claimedAtMs of [now - 90_000, now - 1, now + 10_000_000, undefined]) expect(proof.judge(claimedAtMs, first)).toBe('ask');
  });

  it('stay so though they open younger ones: another node of Keystone may go on with an older key', () => {
    const { proof, now } = fernet();
    proof.unopened({ issuedAtMs: now, endsAtMs: now + 3_600_000 }, first);
    proof.opened(k1, now + 60_000, first);
    expect(proof.isOutOfStep).toBe(true);
  });

  it('are in step again when other keys have come and open one as young', () => {
    const { proof, now } = fernet();
    proof.unopened({ issuedAtMs: now, endsAtMs: now + 3_600_000 }, first);
    const next = set(2, k3, k1);
    proof.opened(k1, now - 1, next);
    expect(proof.isOutOfStep).toBe(true);
    proof.opened(k3, now, next);
    expect(proof.isOutOfStep).toBe(false);
  });

  it('are so anew where the other keys do not open one either', () => {
    const { proof, now } = fernet();
    proof.unopened({ issuedAtMs: now, endsAtMs: now + 3_600_000 }, first);
    const next = set(2, k3, k1);
    proof.unopened({ issuedAtMs: now + 1_000, endsAtMs: now + 60_000 }, next);
    proof.opened(k3, now + 2_000, next);
    expect(proof.isOutOfStep).toBe(true);
  });

  it('are in step again when the last token that shows it has ended', async () => {
    const { proof, now, clock } = fernet();
    proof.opened(k1, now, first);
    proof.unopened({ issuedAtMs: now, endsAtMs: now + 3_600_000 }, first);
    proof.unopened({ issuedAtMs: now, endsAtMs: now + 60_000 }, first);
    await clock.advance(3_599_999);
    expect(proof.isOutOfStep).toBe(true);
    await clock.advance(1);
    expect(proof.isOutOfStep).toBe(false);
  });

  it('are so for as long as the own token is one that they do not open', () => {
    const { proof } = fernet();
    proof.ownIsUnopened(true);
    expect(proof.isOutOfStep).toBe(true);
    proof.ownIsUnopened(false);
    expect(proof.isOutOfStep).toBe(false);
  });
});
