// The judge of a fleet's faults: every promise planted broken once, and every excuse at its edge.

import { describe, expect, it } from 'vitest';
import { type Happening, judged, type Outcome, type Rules } from '../bench/faults/judge.ts';

const rules: Rules = { lagMs: 3000, slackMs: 500, answerWithinMs: 5000 };
const active: Outcome = { kind: 'active', isDegraded: false };
const degraded: Outcome = { kind: 'active', isDegraded: true };
const revoked: Outcome = { kind: 'denied', reason: 'REVOKED' };
const refused: Outcome = { kind: 'denied', reason: 'REFUSED' };
const none: Outcome = { kind: 'none', code: 'UNAVAILABLE', reason: 'KEYSTONE_TIMEOUT' };

const answered = (sidecar: string, askedAtMs: number, outcome: Outcome, tookMs = 10): Extract<Happening, { kind: 'answered' }> => ({
  kind: 'answered',
  sidecar,
  token: 't',
  askedAtMs,
  answeredAtMs: askedAtMs + tookMs,
  outcome,
});
const last = (sidecar: string, outcome: Outcome): Happening => ({ kind: 'last', sidecar, token: 't', outcome });
const watched = (sidecar: string): Happening => ({ kind: 'watched', sidecar, entryId: 'e', atMs: 10_050 });

type Reach = Extract<Happening, { kind: 'revoked' }>['reach'];

/** Revoked at a, at 10 s, and told to the watchers of both. */
function afterRevoke(reach: Reach, ...more: readonly Happening[]): readonly string[] {
  return brokenIn(
    { kind: 'revoking', token: 't', atMs: 9_990 },
    { kind: 'revoked', token: 't', sidecar: 'a', entryId: 'e', reach, atMs: 10_000 },
    watched('a'),
    watched('b'),
    ...more,
  );
}

function brokenIn(...history: readonly Happening[]): readonly string[] {
  return judged(history, rules).violations.map(({ broken, sidecar }) => `${broken} ${sidecar}`);
}

describe('an active answer', () => {
  it('is right before the token is revoked, also where it comes after', () => {
    expect(afterRevoke('fleet', answered('a', 9_999, active), answered('b', 9_999, active))).toEqual([]);
  });

  it('is wrong at once from the sidecar that has acknowledged the revocation, also where it says degraded', () => {
    expect(afterRevoke('sidecar', answered('a', 10_000, active))).toEqual(['ACTIVE_WHERE_REVOKED a']);
    expect(afterRevoke('sidecar', answered('a', 10_000, degraded))).toEqual(['ACTIVE_WHERE_REVOKED a']);
  });

  it.each(['sidecar', 'shared'] as const)('is wrong from another past the bound, where it was acknowledged as far as %s', (reach) => {
    expect(afterRevoke(reach, answered('b', 13_499, active))).toEqual([]);
    expect(afterRevoke(reach, answered('b', 13_500, active))).toEqual(['ACTIVE_ELSEWHERE b']);
    expect(afterRevoke(reach, answered('b', 13_500, degraded))).toEqual([]);
  });

  it('is wrong from anybody, at once, where it was acknowledged as dead everywhere', () => {
    expect(afterRevoke('fleet', answered('b', 10_000, active))).toEqual(['ACTIVE_AFTER_FLEET b']);
    expect(afterRevoke('fleet', answered('b', 10_000, degraded))).toEqual([]);
  });

  it('may come for as long as a fault lasts, and its recovery, where the revocation may wait for the log; not where the log has it', () => {
    const disturbed: Happening = { kind: 'disturbed', fromMs: 10_400, toMs: 20_000 };
    expect(afterRevoke('sidecar', disturbed, answered('b', 23_499, active))).toEqual([]);
    expect(afterRevoke('sidecar', disturbed, answered('b', 23_500, active))).toEqual(['ACTIVE_ELSEWHERE b']);
    expect(afterRevoke('shared', disturbed, answered('b', 13_500, active))).toEqual(['ACTIVE_ELSEWHERE b']);
    const later: Happening = { ...disturbed, fromMs: 10_501 };
    expect(afterRevoke('sidecar', later, answered('b', 13_500, active))).toEqual(['ACTIVE_ELSEWHERE b']);
    const earlier: Happening = { kind: 'disturbed', fromMs: 1_000, toMs: 9_999 };
    expect(afterRevoke('sidecar', earlier, answered('b', 13_500, active))).toEqual(['ACTIVE_ELSEWHERE b']);
  });

  it('is wrong at once where it was asked to know of the revocation, also where it says degraded', () => {
    expect(afterRevoke('sidecar', { ...answered('b', 10_001, active), isFresh: true })).toEqual(['OLDER_THAN_PROMISED b']);
    expect(afterRevoke('sidecar', { ...answered('b', 10_001, degraded), isFresh: true })).toEqual(['OLDER_THAN_PROMISED b']);
    expect(afterRevoke('sidecar', { ...answered('b', 10_001, none), isFresh: true })).toEqual([]);
    expect(afterRevoke('sidecar', { ...answered('b', 10_001, revoked), isFresh: true })).toEqual([]);
  });

  it('has to say degraded where the sidecar has heard nothing for longer than the bound, of whatever token', () => {
    const apart: Happening = { kind: 'apart', sidecar: 'b', fromMs: 1_000, toMs: 9_000 };
    expect(brokenIn(apart, answered('b', 4_499, active), answered('b', 4_500, degraded), answered('a', 4_500, active))).toEqual([]);
    expect(brokenIn(apart, answered('b', 4_500, active))).toEqual(['ACTIVE_WHILE_APART b']);
    // It hears again while it is asked.
    expect(brokenIn(apart, answered('b', 8_995, active))).toEqual([]);
  });
});

describe('a denial', () => {
  it('is wrong before anybody has begun to revoke the token', () => {
    expect(afterRevoke('fleet', answered('b', 9_970, revoked))).toEqual(['DEAD_WHILE_GOOD b']);
    expect(afterRevoke('fleet', answered('b', 9_985, revoked))).toEqual([]);
    expect(brokenIn(answered('b', 1_000, refused))).toEqual(['DEAD_WHILE_GOOD b']);
  });

  it('by an issuer is as good as one by the sidecar', () => {
    expect(afterRevoke('fleet', answered('b', 10_001, refused))).toEqual([]);
  });
});

describe('no answer', () => {
  it('is wrong where nothing excuses it', () => {
    expect(brokenIn(answered('a', 1_000, none))).toEqual(['NO_ANSWER a']);
  });

  it('is right of the sidecar that is away, and of everybody where the issuer is', () => {
    const away: Happening = { kind: 'silent', sidecar: 'a', fromMs: 1_010, toMs: 2_000 };
    expect(brokenIn(away, answered('a', 1_000, none), answered('a', 2_000, none))).toEqual([]);
    expect(brokenIn(away, answered('a', 999, none), answered('a', 2_001, none), answered('b', 1_500, none))).toEqual([
      'NO_ANSWER a',
      'NO_ANSWER a',
      'NO_ANSWER b',
    ]);
    expect(brokenIn({ kind: 'silent', fromMs: 1_000, toMs: 2_000 }, answered('b', 1_500, none))).toEqual([]);
  });

  it('comes within the deadline, as every answer does', () => {
    expect(brokenIn(answered('a', 1_000, active, 5_500))).toEqual([]);
    expect(brokenIn(answered('a', 1_000, active, 5_501))).toEqual(['LATE a']);
  });
});

describe('at the end', () => {
  it('everybody knows the entry itself: an issuer’s refusal would hide that it is lost', () => {
    expect(afterRevoke('sidecar', last('a', revoked), last('b', revoked))).toEqual([]);
    expect(afterRevoke('sidecar', last('a', revoked), last('b', active))).toEqual(['LOST b']);
    expect(afterRevoke('sidecar', last('a', refused), last('b', degraded))).toEqual(['LOST a', 'LOST b']);
    expect(afterRevoke('sidecar', last('a', none), last('b', revoked))).toEqual(['LOST a']);
  });

  it('a token whose revocation nobody has acknowledged may be either', () => {
    expect(brokenIn({ kind: 'revoking', token: 't', atMs: 0 }, last('a', active), last('b', revoked))).toEqual([]);
  });

  it('each watcher has been told of every entry, or since then that it has missed some', () => {
    const entry: Happening = { kind: 'revoked', token: 't', sidecar: 'a', entryId: 'e', reach: 'sidecar', atMs: 10_000 };
    const ends = [last('a', revoked), last('b', revoked)];
    expect(brokenIn(entry, watched('a'), ...ends)).toEqual(['WATCHER_MISSED b']);
    expect(brokenIn(entry, watched('a'), { kind: 'reset', sidecar: 'b', atMs: 10_000 }, ...ends)).toEqual([]);
    expect(brokenIn(entry, watched('a'), { kind: 'reset', sidecar: 'b', atMs: 9_999 }, ...ends)).toEqual(['WATCHER_MISSED b']);
    expect(brokenIn(entry, watched('a'), { kind: 'reset', sidecar: 'a', atMs: 10_000 }, ...ends)).toEqual(['WATCHER_MISSED b']);
  });

  it('everybody has recovered', () => {
    expect(brokenIn({ kind: 'unrecovered', sidecar: 'a', why: 'degraded by FLEET_BEHIND' })).toEqual(['NOT_RECOVERED a']);
  });
});

it('counts what it could have caught', () => {
  const { seen } = judged(
    [
      { kind: 'revoking', token: 't', atMs: 9_990 },
      { kind: 'revoked', token: 't', sidecar: 'a', entryId: 'e', reach: 'shared', atMs: 10_000 },
      { kind: 'apart', sidecar: 'b', fromMs: 9_000, toMs: 20_000 },
      watched('a'),
      { kind: 'reset', sidecar: 'b', atMs: 11_000 },
      answered('a', 9_000, active),
      answered('a', 10_000, revoked),
      answered('b', 10_000, active),
      answered('b', 13_500, degraded),
      { ...answered('b', 13_500, revoked), isFresh: true },
      { ...answered('b', 13_500, none), isFresh: true },
      last('a', revoked),
      { kind: 'unacknowledged', token: 'u', sidecar: 'a', why: 'DEADLINE_EXCEEDED', atMs: 15_000 },
    ],
    rules,
  );
  const counted = { answers: 6, revoked: 1, unacknowledged: 1, active: 3, denied: 2, none: 1, watched: 1, resets: 1, lasts: 1 };
  expect(seen).toEqual({ ...counted, afterHere: 1, afterElsewhere: 2, excused: 1, fresh: 1, whileApart: 1 });
});
