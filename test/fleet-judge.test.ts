// The judge of a fleet's faults: every promise planted broken once, and every excuse at its edge.

import { describe, expect, it } from 'vitest';
import type { Happening, Outcome } from '../bench/faults/history.ts';
import { judged } from '../bench/faults/judge.ts';
import type { Rules } from '../bench/faults/promises.ts';

const rules: Rules = { lagMs: 3000, slackMs: 500, answerWithinMs: 5000, busMs: 1000 };
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
const watched = (sidecar: string, entryId = 'e'): Happening => ({ kind: 'watched', sidecar, entryId, atMs: 10_050 });

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

  it('and one that comes late are nobody’s fault where whoever asks stood still; an active one is what it is', () => {
    const stalled: Happening = { kind: 'stalled', fromMs: 1_010, toMs: 2_000 };
    expect(brokenIn(stalled, answered('a', 1_000, none), answered('b', 2_000, none, 5_501))).toEqual([]);
    expect(brokenIn(stalled, answered('a', 999, none), answered('a', 2_001, none), answered('b', 2_001, active, 5_501))).toEqual([
      'NO_ANSWER a',
      'NO_ANSWER a',
      'LATE b',
    ]);
    expect(afterRevoke('fleet', { ...stalled, toMs: 20_000 }, answered('a', 10_000, active))).toEqual(['ACTIVE_WHERE_REVOKED a']);
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

type Ended = Extract<Happening, { kind: 'ended' }>;

/** Keystone ends the token at 10 s, and its bus has that 200 ms later. */
const byName: Ended = { kind: 'ended', token: 't', atMs: 10_000, isListed: true, publishedAtMs: 10_200, entryIds: ['e', 'f'] };
const byQuestion: Ended = { ...byName, isListed: false, entryIds: [] };
const known: readonly Happening[] = [watched('a'), watched('b', 'f')];
const behind = (...degradedBy: readonly string[]): Outcome => ({ kind: 'active', isDegraded: true, degradedBy });

function afterEnd(ended: Ended, ...more: readonly Happening[]): readonly string[] {
  return brokenIn({ kind: 'revoking', token: 't', atMs: 9_990 }, ended, ...known, ...more);
}

describe('a token that Keystone has ended by itself', () => {
  it('is active nowhere beyond the bound of the bus, where nothing is wrong with that', () => {
    for (const ended of [byName, byQuestion]) {
      expect(afterEnd(ended, answered('a', 11_199, active))).toEqual([]);
      const beyond = [answered('a', 11_200, active), answered('b', 11_200, active)];
      expect(afterEnd(ended, ...beyond)).toEqual(['ACTIVE_AFTER_NEWS a', 'ACTIVE_AFTER_NEWS b']);
      expect(afterEnd(ended, answered('a', 11_200, refused), answered('b', 11_200, revoked))).toEqual([]);
    }
  });

  it('may be active beyond it where the answer says that the bus may have more to tell, and not where it is degraded by anything else', () => {
    for (const why of ['SOURCE_BEHIND(bus)', 'SOURCE_SUSPECT(bus)', 'GAP']) {
      expect(afterEnd(byQuestion, answered('a', 11_200, behind('FLEET_BEHIND', why)))).toEqual([]);
    }
    for (const why of ['FLEET_BEHIND', 'SOURCE_BEHIND(poll)', 'CLOCK', 'STALE_FACTS']) {
      expect(afterEnd(byQuestion, answered('a', 11_200, behind(why)))).toEqual(['ACTIVE_AFTER_NEWS a']);
    }
  });

  it('may be active for max_lag where the bus was hurt as it was published, and there alone', () => {
    const hurt = { kind: 'unheard', sidecar: 'a', fromMs: 11_200, toMs: 20_000 } as const;
    expect(afterEnd(byQuestion, hurt, answered('a', 13_699, active))).toEqual([]);
    expect(afterEnd(byQuestion, hurt, answered('a', 13_700, active))).toEqual(['ACTIVE_AFTER_NEWS a']);
    expect(afterEnd(byQuestion, hurt, answered('a', 13_700, behind('SOURCE_BEHIND(bus)')))).toEqual([]);
    expect(afterEnd(byQuestion, hurt, answered('b', 11_200, active))).toEqual(['ACTIVE_AFTER_NEWS b']);
    // Hurt too late to have held it up, or no longer.
    for (const other of [
      { ...hurt, fromMs: 11_201 },
      { ...hurt, fromMs: 1_000, toMs: 10_199 },
    ]) {
      expect(afterEnd(byQuestion, other, answered('a', 11_200, active))).toEqual(['ACTIVE_AFTER_NEWS a']);
    }
  });

  it('is active nowhere beyond max_lag where it is listed, whatever is said of the bus, unless the answer says that of the list', () => {
    const gone: Happening = { kind: 'unheard', fromMs: 10_000, toMs: 20_000 };
    expect(afterEnd(byName, gone, answered('a', 13_499, active))).toEqual([]);
    expect(afterEnd(byName, gone, answered('a', 13_500, active))).toEqual(['ACTIVE_AFTER_LISTED a']);
    expect(afterEnd(byName, gone, answered('a', 13_700, behind('SOURCE_BEHIND(bus)', 'GAP')))).toEqual(['ACTIVE_AFTER_LISTED a']);
    expect(afterEnd(byName, gone, answered('a', 13_699, behind('SOURCE_BEHIND(poll)')))).toEqual([]);
    expect(afterEnd(byName, gone, answered('a', 13_700, behind('SOURCE_BEHIND(poll)')))).toEqual(['ACTIVE_AFTER_NEWS a']);
    expect(afterEnd(byName, gone, answered('a', 13_700, behind('SOURCE_BEHIND(poll)', 'SOURCE_BEHIND(bus)')))).toEqual([]);
    // Of this one the list tells nothing.
    expect(afterEnd(byQuestion, gone, answered('a', 13_699, active))).toEqual([]);
  });

  it('may be active where the bus has never taken what it alone tells; what is listed is promised all the same', () => {
    const { publishedAtMs: _, ...silent } = byQuestion;
    expect(afterEnd(silent, answered('a', 100_000, active), last('a', active))).toEqual([]);
    const { publishedAtMs: __, ...listed } = byName;
    expect(afterEnd(listed, answered('a', 13_500, active), last('a', active))).toEqual(['ACTIVE_AFTER_LISTED a', 'LOST a']);
  });

  it('is called dead by nobody before', () => {
    expect(afterEnd(byName, answered('a', 9_970, revoked))).toEqual(['DEAD_WHILE_GOOD a']);
    expect(afterEnd(byName, answered('a', 9_985, revoked))).toEqual([]);
  });

  it('is known everywhere at the end: by an entry where it has one, else by Keystone’s own refusal', () => {
    expect(afterEnd(byName, last('a', revoked), last('b', refused))).toEqual(['LOST b']);
    expect(afterEnd(byQuestion, last('a', revoked), last('b', refused))).toEqual([]);
    expect(afterEnd(byQuestion, last('a', degraded), last('b', none))).toEqual(['LOST a', 'LOST b']);
  });

  it('is told to each watcher by one entry or the other, or by a reset', () => {
    const ends = [last('a', revoked), last('b', revoked)];
    expect(brokenIn(byName, watched('a'), ...ends)).toEqual(['WATCHER_MISSED b']);
    expect(brokenIn(byName, watched('a'), { kind: 'reset', sidecar: 'b', atMs: 10_000 }, ...ends)).toEqual([]);
    expect(brokenIn(byName, watched('a'), { kind: 'reset', sidecar: 'b', atMs: 9_999 }, ...ends)).toEqual(['WATCHER_MISSED b']);
    expect(brokenIn(byQuestion, ...ends)).toEqual([]);
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
  const ofNews = { ended: 0, published: 0, afterNews: 0, excusedNews: 0 };
  expect(seen).toEqual({ ...counted, ...ofNews, afterHere: 1, afterElsewhere: 2, excused: 1, fresh: 1, whileApart: 1 });
});

it('counts what Keystone has ended, and who was asked about it past a bound', () => {
  const { publishedAtMs: _, ...silent } = byQuestion;
  const { seen } = judged(
    [
      byName,
      { ...silent, token: 'u' },
      answered('a', 11_000, active),
      answered('a', 11_200, behind('GAP')),
      answered('b', 11_200, revoked),
    ],
    rules,
  );
  expect(seen).toMatchObject({ ended: 2, published: 1, afterNews: 2, excusedNews: 1 });
});
