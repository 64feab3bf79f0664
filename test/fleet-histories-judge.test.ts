// The judge of a fleet's random histories: every promise planted broken once, and every excuse at its edge.

import { describe, expect, it } from 'vitest';
import type { Answered, Happening, Of, Outcome } from './fleet-histories/happening.ts';
import { judged, type Rules } from './fleet-histories/judge.ts';

const rules: Rules = { timeMs: 5_000, unknownMs: 500, settleMs: 400, lagMs: 3_000, proofMs: 600, slackMs: 1_000 };
const position = { journal: 'a', revision: 7 };

/** A token of which version 1 was true until 10 s, and version 2 is since then. */
const begun: readonly Happening[] = [
  { kind: 'issued', token: 't', names: ['token:t', 'user:u', 'group:g'], issuedAtMs: 1_000 },
  { kind: 'truth', token: 't', version: 1, isGood: true, endsAtMs: 90_000, atMs: 100 },
  { kind: 'truth', token: 't', version: 2, isGood: true, endsAtMs: 90_000, atMs: 10_000 },
];
const active = (version: number, part: Partial<Extract<Outcome, { kind: 'active' }>> = {}): Outcome => ({
  kind: 'active',
  version,
  isDegraded: false,
  asOf: { journal: 'b', revision: 3 },
  ...part,
});
const denied = (reason: string): Outcome => ({ kind: 'denied', reason });
const none: Outcome = { kind: 'none', code: 'UNAVAILABLE', reason: 'KEYSTONE_TIMEOUT' };
const answered = (sidecar: string, askedAtMs: number, outcome: Outcome, part: Partial<Answered> = {}): Answered => ({
  kind: 'answered',
  how: 'asked',
  sidecar,
  token: 't',
  wanted: {},
  askedAtMs,
  answeredAtMs: askedAtMs + 10,
  outcome,
  ...part,
});
/** By sidecar a, from 9.9 s on, acknowledged at 10 s. */
const invalidated = (effect: 'REVOKE' | 'REFRESH', part: Partial<Of<'invalidated'>> = {}): readonly Happening[] => [
  { kind: 'invalidating', effect, names: ['user:u'], atMs: 9_900 },
  {
    kind: 'invalidated',
    effect,
    names: ['user:u'],
    cutOffMs: 9_000,
    sidecar: 'a',
    entryId: 'e',
    position,
    reach: 'sidecar',
    beganMs: 9_900,
    atMs: 10_000,
    ...part,
  },
];
const revoked = (part: Partial<Of<'invalidated'>> = {}) => invalidated('REVOKE', part);
const placedAt = (sidecar: string, atMs: number): Happening => ({
  kind: 'placed',
  sidecar,
  entryId: 'e',
  position: { journal: sidecar, revision: 5 },
  atMs,
});

function brokenIn(...history: readonly (Happening | readonly Happening[])[]): readonly string[] {
  return judged([...begun, ...history.flat()], rules).violations.map(({ broken, sidecar }) => `${broken} ${sidecar}`);
}

describe('facts', () => {
  it('are not from before `time`', () => {
    expect(brokenIn(answered('a', 15_000, active(1)), answered('a', 60_000, active(2)))).toEqual([]);
    expect(brokenIn(answered('a', 15_003, active(1)))).toEqual(['OLDER_THAN_TIME a']);
    expect(brokenIn(answered('a', 15_003, active(1, { isDegraded: true })))).toEqual(['OLDER_THAN_TIME a']);
    expect(brokenIn(answered('a', 15_003, active(1), { how: 'near' }))).toEqual(['OLDER_THAN_TIME a']);
  });

  it('are not from before `max_staleness`, also where it says degraded', () => {
    const wanted = { maxStalenessMs: 50 };
    expect(brokenIn(answered('a', 10_050, active(1), { wanted }))).toEqual([]);
    expect(brokenIn(answered('a', 10_053, active(1, { isDegraded: true }), { wanted }))).toEqual(['OLDER_THAN_MAX_STALENESS a']);
  });

  it('are from after a REFRESH that the sidecar had acknowledged, by whatever may be older than that call', () => {
    const refreshed = invalidated('REFRESH', { beganMs: 10_500, atMs: 10_600 });
    expect(brokenIn(refreshed, answered('a', 10_599, active(1)), answered('a', 10_600, active(2)))).toEqual([]);
    expect(brokenIn(refreshed, answered('a', 10_600, active(1)))).toEqual(['OLDER_THAN_REFRESH a']);
    // Under way while it changed: either will do.
    expect(brokenIn(invalidated('REFRESH'), answered('a', 10_000, active(1)))).toEqual([]);
    expect(brokenIn(invalidated('REFRESH', { names: ['user:v'], beganMs: 10_500 }), answered('a', 12_000, active(1)))).toEqual([]);
  });

  it('are from after one that its watcher had been told of, and by a near cache a little later', () => {
    const refreshed = [...invalidated('REFRESH', { beganMs: 10_500, atMs: 10_600 }), placedAt('b', 11_000)];
    expect(brokenIn(refreshed, answered('b', 10_999, active(1)))).toEqual([]);
    expect(brokenIn(refreshed, answered('b', 11_000, active(1)))).toEqual(['OLDER_THAN_REFRESH b']);
    expect(brokenIn(refreshed, answered('b', 12_599, active(1), { how: 'near' }))).toEqual([]);
    expect(brokenIn(refreshed, answered('b', 12_600, active(1), { how: 'near' }))).toContain('OLDER_THAN_REFRESH b');
  });

  it('are settled when it has settled, and another one that came before that', () => {
    const refreshed = invalidated('REFRESH', { beganMs: 9_700, atMs: 9_800 });
    expect(brokenIn(refreshed, answered('a', 10_599, active(1)))).toEqual([]);
    expect(brokenIn(refreshed, answered('a', 10_600, active(1)))).toEqual(['NOT_SETTLED a']);
  });

  it('are from after a REFRESH that was asked for, on whichever sidecar, by entry or by position', () => {
    const refreshed = [...invalidated('REFRESH', { beganMs: 10_500, atMs: 10_600 }), placedAt('b', 50_000)];
    expect(brokenIn(refreshed, answered('b', 10_550, active(1), { wanted: { entryId: 'e' } }))).toEqual(['OLDER_THAN_ASKED_ENTRY b']);
    expect(brokenIn(refreshed, answered('b', 10_550, active(1), { wanted: { entryId: 'f' } }))).toEqual([]);
    const at = (revision: number) => ({ wanted: { position: { journal: 'b', revision } } });
    expect(brokenIn(refreshed, answered('b', 10_550, active(1), at(5)))).toEqual(['OLDER_THAN_ASKED_ENTRY b']);
    expect(brokenIn(refreshed, answered('b', 10_550, active(1), at(4)))).toEqual([]);
  });

  it('are from after one that another has acknowledged, when that must have come or it says degraded', () => {
    const refreshed = invalidated('REFRESH', { beganMs: 10_500, atMs: 10_600 });
    expect(brokenIn(refreshed, answered('b', 14_599, active(1)))).toEqual([]);
    expect(brokenIn(refreshed, answered('b', 14_600, active(1)))).toEqual(['OLDER_THAN_REFRESH_ELSEWHERE b']);
    expect(brokenIn(refreshed, answered('b', 14_600, active(1, { isDegraded: true })))).toEqual([]);
  });

  it('are of a version that there is, good, and not ended', () => {
    expect(brokenIn(answered('a', 9_000, active(2)))).toEqual(['ACTIVE_BY_NOBODY a']);
    expect(brokenIn(answered('a', 12_000, active(3)))).toEqual(['ACTIVE_BY_NOBODY a']);
    expect(brokenIn(answered('a', 12_000, active(2), { token: 'u' }))).toEqual(['ACTIVE_BY_NOBODY a']);
    const short: Happening = { kind: 'truth', token: 't', version: 3, isGood: true, endsAtMs: 20_000, atMs: 12_000 };
    const bad: Happening = { kind: 'truth', token: 't', version: 4, isGood: false, endsAtMs: 90_000, atMs: 30_000 };
    expect(brokenIn(short, answered('a', 20_999, active(3)))).toEqual([]);
    expect(brokenIn(short, answered('a', 21_000, active(3)))).toEqual(['ACTIVE_AFTER_END a']);
    expect(brokenIn(short, bad, answered('a', 31_000, active(4)))).toEqual(['ACTIVE_BY_NOBODY a']);
  });
});

describe('an active answer about what is revoked', () => {
  it('is wrong from the sidecar that has acknowledged it, also where it says degraded', () => {
    expect(brokenIn(revoked(), answered('a', 9_999, active(2)))).toEqual([]);
    expect(brokenIn(revoked(), answered('a', 10_000, active(2)))).toEqual(['ACTIVE_WHERE_REVOKED a']);
    expect(brokenIn(revoked(), answered('a', 10_000, active(2, { isDegraded: true })))).toEqual(['ACTIVE_WHERE_REVOKED a']);
    expect(brokenIn(revoked(), answered('a', 10_000, active(2), { how: 'found' }))).toEqual(['ACTIVE_WHERE_REVOKED a']);
  });

  it('is right of a token that is not concerned: issued later, or of another name', () => {
    expect(brokenIn(revoked({ cutOffMs: 999 }), answered('a', 10_000, active(2)))).toEqual([]);
    expect(brokenIn(revoked({ cutOffMs: 1_000 }), answered('a', 10_000, active(2)))).toEqual(['ACTIVE_WHERE_REVOKED a']);
    expect(brokenIn(revoked({ names: ['user:u', 'group:h'] }), answered('a', 10_000, active(2)))).toEqual([]);
    expect(brokenIn(revoked({ names: [] }), answered('a', 10_000, active(2)))).toEqual(['ACTIVE_WHERE_REVOKED a']);
  });

  it('is wrong where it was decided as of its position, or asked for it', () => {
    const asOf = { journal: 'b', revision: 5 };
    const there = [...revoked(), placedAt('b', 50_000)];
    expect(brokenIn(there, answered('b', 10_010, active(2, { asOf })))).toEqual(['ACTIVE_AS_OF_REVOKE b']);
    expect(brokenIn(there, answered('b', 10_010, active(2, { asOf: { ...asOf, revision: 4 } })))).toEqual([]);
    expect(brokenIn(there, answered('b', 10_010, active(2, { isDegraded: true }), { wanted: { entryId: 'e' } }))).toEqual([
      'ACTIVE_AFTER_ASKED_ENTRY b',
    ]);
  });

  it('is wrong from anybody, at once, where it is dead everywhere, unless it says degraded; from a near cache a little later', () => {
    const everywhere = revoked({ reach: 'fleet' });
    expect(brokenIn(everywhere, answered('b', 10_000, active(2)))).toEqual(['ACTIVE_AFTER_FLEET b']);
    expect(brokenIn(everywhere, answered('b', 10_000, active(2, { isDegraded: true })))).toEqual([]);
    expect(brokenIn(everywhere, answered('b', 11_599, active(2), { how: 'near' }))).toEqual([]);
    expect(brokenIn(everywhere, answered('b', 11_600, active(2), { how: 'near' }))).toEqual(['ACTIVE_AFTER_FLEET b']);
  });

  it('is wrong from others past the bound; with slack, and as long as it may wait, where the log may not have it', () => {
    expect(brokenIn(revoked({ reach: 'shared' }), answered('b', 13_001, active(2)))).toEqual([]);
    expect(brokenIn(revoked({ reach: 'shared' }), answered('b', 13_002, active(2)))).toEqual(['ACTIVE_ELSEWHERE b']);
    expect(brokenIn(revoked(), answered('b', 13_999, active(2)))).toEqual([]);
    expect(brokenIn(revoked(), answered('b', 14_000, active(2)))).toEqual(['ACTIVE_ELSEWHERE b']);
    const severed: Happening = { kind: 'severed', sidecar: 'a', fromMs: 11_000, toMs: 20_000 };
    expect(brokenIn(revoked(), severed, answered('b', 23_999, active(2)))).toEqual([]);
    expect(brokenIn(revoked(), severed, answered('b', 24_000, active(2)))).toEqual(['ACTIVE_ELSEWHERE b']);
    expect(brokenIn(revoked(), { ...severed, sidecar: 'b' }, answered('b', 14_000, active(2)))).toEqual(['ACTIVE_ELSEWHERE b']);
    expect(brokenIn(revoked(), { ...severed, fromMs: 11_001 }, answered('b', 14_000, active(2)))).toEqual(['ACTIVE_ELSEWHERE b']);
    expect(brokenIn(revoked({ reach: 'shared' }), severed, answered('b', 14_000, active(2)))).toEqual(['ACTIVE_ELSEWHERE b']);
  });

  it('is wrong when its authority has listed it for longer than news may be behind', () => {
    const listed: Happening = { kind: 'listed', names: ['user:u'], cutOffMs: 1_000, atMs: 10_000 };
    expect(brokenIn(listed, answered('b', 13_999, active(2)))).toEqual([]);
    expect(brokenIn(listed, answered('b', 14_000, active(2)))).toEqual(['ACTIVE_AFTER_NEWS b']);
    expect(brokenIn(listed, answered('b', 14_000, active(2, { isDegraded: true })))).toEqual([]);
    expect(brokenIn({ ...listed, cutOffMs: 999 }, answered('b', 14_000, active(2)))).toEqual([]);
  });
});

describe('a denial', () => {
  it('has somebody who has begun to revoke the token', () => {
    expect(brokenIn(answered('a', 9_000, denied('REVOKED')))).toEqual(['DEAD_WHILE_GOOD a']);
    expect(brokenIn(revoked(), answered('a', 9_889, denied('REVOKED')))).toEqual(['DEAD_WHILE_GOOD a']);
    expect(brokenIn(revoked(), answered('a', 9_890, denied('REVOKED')))).toEqual([]);
    expect(brokenIn(invalidated('REFRESH'), answered('a', 12_000, denied('REVOKED')))).toEqual(['DEAD_WHILE_GOOD a']);
    const listed: Happening = { kind: 'listed', names: ['user:u'], cutOffMs: 1_000, atMs: 10_000 };
    expect(brokenIn(listed, answered('a', 9_990, denied('REVOKED')))).toEqual([]);
  });

  it('or an authority that refused it as lately as that is repeated, or let it end', () => {
    const bad: Happening = { kind: 'truth', token: 't', version: 3, isGood: false, endsAtMs: 90_000, atMs: 20_000 };
    const good: Happening = { kind: 'truth', token: 't', version: 4, isGood: true, endsAtMs: 60_000, atMs: 21_000 };
    expect(brokenIn(bad, good, answered('a', 19_989, denied('REFUSED')))).toEqual(['DEAD_WHILE_GOOD a']);
    expect(brokenIn(bad, good, answered('a', 19_990, denied('REFUSED')), answered('a', 22_500, denied('REFUSED')))).toEqual([]);
    expect(brokenIn(bad, good, answered('a', 22_501, denied('REFUSED')))).toEqual(['DEAD_WHILE_GOOD a']);
    expect(brokenIn(bad, good, answered('a', 58_989, denied('EXPIRED')))).toEqual(['DEAD_WHILE_GOOD a']);
    expect(brokenIn(bad, good, answered('a', 58_990, denied('EXPIRED')), answered('a', 59_990, denied('REFUSED')))).toEqual([]);
    expect(brokenIn(answered('a', 12_000, denied('MALFORMED')))).toEqual(['DEAD_WHILE_GOOD a']);
  });
});

describe('at the end', () => {
  it('everybody knows each revocation', () => {
    const last = (outcome: Outcome): Happening => ({ kind: 'last', sidecar: 'b', entryId: 'e', outcome });
    expect(brokenIn(last(denied('REVOKED')))).toEqual([]);
    expect(brokenIn(last(active(2)), last(none))).toEqual(['LOST b', 'LOST b']);
  });

  it('each watcher has been told of every entry, or since then that it has missed some', () => {
    const other: Happening = { ...placedAt('b', 9_000), entryId: 'f' } as Happening;
    expect(brokenIn(revoked(), placedAt('a', 10_100), other)).toEqual(['WATCHER_MISSED b']);
    expect(brokenIn(revoked(), other, { kind: 'reset', sidecar: 'b', atMs: 9_900 })).toEqual([]);
    expect(brokenIn(revoked(), other, { kind: 'reset', sidecar: 'b', atMs: 9_899 })).toEqual(['WATCHER_MISSED b']);
  });

  it('a watcher is counted where it has said that it is', () => {
    const said = (revision: number, atMs: number): Happening => {
      return { kind: 'acknowledged', sidecar: 'a', watcher: 'w', revision, beganMs: atMs - 10, atMs };
    };
    const counted = (revision: number): Happening => {
      return { kind: 'counted', sidecar: 'a', watcher: 'w', revision, askedAtMs: 2_000, answeredAtMs: 2_010 };
    };
    const those = [said(3, 1_000), said(5, 2_015), said(9, 3_000)];
    expect(brokenIn(those, counted(3), counted(5))).toEqual([]);
    expect(brokenIn(those, counted(2), counted(6))).toEqual(['ACKNOWLEDGEMENT_LOST a', 'ACKNOWLEDGEMENT_INVENTED a']);
  });
});

it('no answer promises nothing; what could have been caught is counted', () => {
  const history = [
    ...begun,
    ...revoked(),
    placedAt('a', 10_100),
    answered('a', 15_003, active(2)),
    answered('a', 16_000, none),
    answered('b', 10_100, denied('REVOKED'), { wanted: { entryId: 'e' } }),
    answered('b', 10_100, active(2, { isDegraded: true }), { how: 'near' }),
    answered('b', 9_000, active(1), { how: 'found' }),
  ];
  expect(judged(history, rules).seen).toEqual({
    ...{ answers: 5, active: 3, degraded: 1, denied: 1, none: 1, near: 1, found: 1, acknowledged: 0 },
    ...{ revoked: 1, refreshed: 0, placed: 1, noneBy: { KEYSTONE_TIMEOUT: 1 } },
    held: { OLDER_THAN_TIME: 1, ACTIVE_WHERE_REVOKED: 1, ACTIVE_ELSEWHERE: 1, ACTIVE_AFTER_ASKED_ENTRY: 1 },
  });
});
