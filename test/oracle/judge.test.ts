// The judge of the truth table: what is right is let through, and each way to be wrong is found.
import { describe, expect, test } from 'vitest';
import { type Course, judge, type Said, type Span } from './judge.ts';
import type { Verdict } from './truth.ts';

/** What a token says: some words, as its user's name. */
const saying = (words: string) => JSON.stringify({ user: { name: words }, methods: [] });
const accepted = (words = 'as ever'): Verdict => ({ accepted: true, says: saying(words) });
const refused: Verdict = { accepted: false, status: 404 };
const active = (words = 'as ever'): Said => ({ kind: 'active', says: saying(words) });
const inactive: Said = { kind: 'inactive', reason: 'REFUSED' };
const none: Said = { kind: 'none', why: 'UNAVAILABLE' };

/** One answer each 100 ms from 0 on; the action is sent at 1,000 and replied to at 1,200. */
const spans = (...said: readonly Said[]): readonly Span[] =>
  said.map((one, at) => ({
    said: one,
    firstAskedMs: at * 1000,
    firstAnsweredMs: at * 1000 + 10,
    lastAnsweredMs: at * 1000 + 910,
    count: 10,
  }));
const course = (before: Verdict, after: Verdict): Course => ({ before, after, sentMs: 1000, repliedMs: 1200, lateAfterMs: 2500 });
const brokenOf = (before: Verdict, after: Verdict, ...said: readonly Said[]) =>
  judge(spans(...said), course(before, after)).broken.map(({ what }) => what);

describe('the judge of the truth table', () => {
  test.each<[string, Verdict, Verdict, readonly Said[], number | undefined]>([
    ['nothing changes', accepted(), accepted(), [active()], undefined],
    ['a token dies', accepted(), refused, [active(), active(), inactive], 810],
    ['a token dies before the reply is there', accepted(), refused, [active(), inactive], 0],
    ['a token changes', accepted(), accepted('more'), [active(), active('more')], 0],
    ['a token comes back to life', refused, accepted(), [inactive, inactive, active()], 810],
    ['a dead token stays so, whatever it is called', refused, refused, [inactive, { kind: 'inactive', reason: 'REVOKED' }], undefined],
  ])('lets through what is right: %s', (_, before, after, said, changedAfterMs) => {
    expect(judge(spans(...said), course(before, after))).toEqual({ broken: [], ...(changedAfterMs !== undefined && { changedAfterMs }) });
  });

  test.each<[string, Verdict, Verdict, readonly Said[], readonly string[]]>([
    ['it lives on', accepted(), refused, [active(), active()], ['WRONG']],
    ['it stays dead', refused, accepted(), [inactive], ['WRONG']],
    ['it says what was true before', accepted(), accepted('more'), [active()], ['WRONG']],
    ['it ends without an answer', accepted(), accepted(), [active(), none], ['WRONG', 'NO_ANSWER']],
    ['nothing was ever answered', accepted(), accepted(), [], ['WRONG']],
    ['it was dead for a while', accepted(), accepted(), [active(), inactive, active()], ['KILLED']],
    ['it was dead for a while as it changed', accepted(), accepted('more'), [active(), inactive, active('more')], ['KILLED']],
    ['it died before anything was done', accepted(), refused, [inactive], ['EARLY']],
    ['it said something else', accepted(), accepted('more'), [active(), active('less'), active('more')], ['NEITHER']],
    ['a dead one lived for a while', refused, refused, [inactive, active(), inactive], ['NEITHER']],
    ['it came back to life', accepted(), refused, [active(), inactive, active(), inactive], ['FLAPPED']],
    ['it changed back', accepted(), accepted('more'), [active(), active('more'), active(), active('more')], ['FLAPPED']],
    ['it died again', refused, accepted(), [inactive, active(), inactive, active()], ['FLAPPED']],
    ['there was no answer for a while', accepted(), refused, [active(), none, inactive], ['NO_ANSWER']],
    ['it took too long', accepted(), refused, [active(), active(), active(), active(), inactive], ['LATE']],
  ])('finds what is wrong: %s', (_, before, after, said, broken) => {
    expect(brokenOf(before, after, ...said)).toEqual(broken);
  });

  test('tells what differs, and not the rest', () => {
    const [wrong] = judge(spans(active(), active()), course(accepted(), accepted('more'))).broken;
    expect(wrong?.note).toBe('active, with user {"name":"as ever"}; Keystone says user {"name":"more"}');
  });
});
