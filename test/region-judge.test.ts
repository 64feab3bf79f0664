// The judge of the region: every promise planted broken once, and every excuse at its edge.

import { describe, expect, it } from 'vitest';
import { Judge, type Observation, type Outcome, type Rules } from '../bench/region/judge.ts';

const rules: Rules = { timeMs: 20_000, skewMs: 2000, slackMs: 100, recoveryMs: 500, answerWithinMs: 3000 };
const active = (names = 'one', confirmedAtMs?: number): Outcome => ({ kind: 'active', names, confirmedAtMs });
const inactive: Outcome = { kind: 'inactive', reason: 'REFUSED' };
const none = (code = 'UNAVAILABLE'): Outcome => ({ kind: 'none', code, reason: 'KEYSTONE_TIMEOUT' });
const at = (askedAtMs: number, outcome: Outcome, more: Partial<Observation> = {}): Observation => ({
  sidecar: 'a',
  token: 't',
  askedAtMs,
  answeredAtMs: askedAtMs + 10,
  outcome,
  ...more,
});

/** A judge who knows one token, good from 0 to an hour. */
function judgeOfOne(): Judge {
  const judge = new Judge(rules);
  judge.issued('t', { names: 'one', endsAtMs: 3_600_000 });
  return judge;
}

describe('an active answer', () => {
  it('is right while the authority accepts the token', () => {
    expect(judgeOfOne().answered(at(1000, active()))).toBeUndefined();
  });

  it('must not be about a token that nobody has issued', () => {
    expect(judgeOfOne().answered(at(1000, active(), { token: 'garbage' }))?.broken).toBe('ACTIVE_NEVER_ISSUED');
  });

  it('must not bring the facts of another token', () => {
    expect(judgeOfOne().answered(at(1000, active('two')))?.broken).toBe('ANOTHERS_FACTS');
  });

  it('must not come from the sidecar that has acknowledged a Revoke, and may come from another', () => {
    const judge = judgeOfOne();
    judge.revoking('a', 't', 990);
    judge.revoked('a', 't', 1000);
    expect(judge.answered(at(999, active()))).toBeUndefined();
    expect(judge.answered(at(1000, active()))?.broken).toBe('ACTIVE_AFTER_REVOKE');
    expect(judge.answered(at(1000, active(), { sidecar: 'b' }))).toBeUndefined();
  });

  it('stays forbidden after the sidecar has been killed and started again', () => {
    const judge = judgeOfOne();
    judge.revoking('a', 't', 990);
    judge.revoked('a', 't', 1000);
    judge.sidecarLeft('a', 1100);
    judge.sidecarCame('a', 2000);
    expect(judge.answered(at(3000, active()))?.broken).toBe('ACTIVE_AFTER_REVOKE');
  });

  it('is right for `time` and the skew after the authority has stopped accepting the token, and no longer', () => {
    const judge = judgeOfOne();
    judge.denied('t', 1000);
    expect(judge.answered(at(23_100, active()))).toBeUndefined();
    expect(judge.answered(at(23_101, active()))?.broken).toBe('ACTIVE_TOO_LONG');
  });

  it('is not excused for longer because the authority denies the token a second time', () => {
    const judge = judgeOfOne();
    judge.denied('t', 1000);
    judge.denied('t', 20_000);
    expect(judge.answered(at(23_101, active()))?.broken).toBe('ACTIVE_TOO_LONG');
  });

  it('ends with the token itself, whatever `time` is', () => {
    const judge = new Judge(rules);
    judge.issued('t', { names: 'one', endsAtMs: 5000 });
    expect(judge.answered(at(5100, active()))).toBeUndefined();
    expect(judge.answered(at(5101, active()))?.broken).toBe('ACTIVE_BEYOND_END');
  });
});

describe('an inactive answer', () => {
  it('is wrong while the authority accepts the token', () => {
    expect(judgeOfOne().answered(at(1000, inactive))?.broken).toBe('INACTIVE_WHILE_GOOD');
  });

  it('is right from the denial on, also where that came while it was on its way', () => {
    const judge = judgeOfOne();
    judge.denied('t', 1005);
    expect(judge.answered(at(1000, inactive))).toBeUndefined();
    expect(judge.answered(at(980, inactive))?.broken).toBe('INACTIVE_WHILE_GOOD');
  });

  it('is right where this sidecar was asked to revoke, acknowledged or not, and wrong from another', () => {
    const judge = judgeOfOne();
    judge.revoking('a', 't', 1000);
    expect(judge.answered(at(1000, inactive))).toBeUndefined();
    expect(judge.answered(at(1000, inactive, { sidecar: 'b' }))?.broken).toBe('INACTIVE_WHILE_GOOD');
  });

  it('is right for what nobody has issued', () => {
    expect(judgeOfOne().answered(at(1000, inactive, { token: 'garbage' }))).toBeUndefined();
  });
});

describe('no answer', () => {
  it('is wrong while the authority and the sidecar are there', () => {
    expect(judgeOfOne().answered(at(1000, none()))?.broken).toBe('NO_ANSWER_WHILE_ALL_IS_THERE');
  });

  it('is right while the authority is away, and for its recovery', () => {
    const judge = judgeOfOne();
    judge.authorityLeft(1000);
    expect(judge.answered(at(1000, none()))).toBeUndefined();
    judge.authorityCame(2000);
    expect(judge.answered(at(2500, none()))).toBeUndefined();
    expect(judge.answered(at(2501, none()))?.broken).toBe('NO_ANSWER_WHILE_ALL_IS_THERE');
    expect(judge.answered(at(980, none()))?.broken).toBe('NO_ANSWER_WHILE_ALL_IS_THERE');
  });

  it('is wrong even then where the sidecar has facts that are still good', () => {
    const judge = judgeOfOne();
    judge.answered(at(1000, active('one', 900)));
    judge.authorityLeft(1000);
    expect(judge.answered(at(18_700, none()))?.broken).toBe('NO_ANSWER_BESIDE_FACTS');
    expect(judge.answered(at(18_801, none()))).toBeUndefined();
  });

  it('is right beside facts where the catalog was asked for too', () => {
    const judge = judgeOfOne();
    judge.answered(at(1000, active('one', 900)));
    judge.authorityLeft(1000);
    expect(judge.answered(at(2000, none(), { withCatalog: true }))).toBeUndefined();
  });

  it('is right beside facts where the authority has refused it before it left: they may have been confirmed again, and dropped', () => {
    const judge = judgeOfOne();
    judge.answered(at(1000, active('one', 900)));
    judge.denied('t', 1500);
    judge.authorityLeft(2000);
    expect(judge.answered(at(3000, none()))).toBeUndefined();
  });

  it('is right beside facts where the sidecar has been restarted and lost them', () => {
    const judge = judgeOfOne();
    judge.answered(at(1000, active('one', 900)));
    judge.sidecarLeft('a', 1100);
    judge.sidecarCame('a', 1200);
    judge.authorityLeft(1300);
    expect(judge.answered(at(4000, none()))).toBeUndefined();
  });

  it('is right from a sidecar that is down, and from that one only', () => {
    const judge = judgeOfOne();
    judge.sidecarLeft('a', 1000);
    expect(judge.answered(at(1000, none('CANCELLED')))).toBeUndefined();
    expect(judge.answered(at(1000, none(), { sidecar: 'b' }))?.broken).toBe('NO_ANSWER_WHILE_ALL_IS_THERE');
    judge.sidecarCame('a', 2000);
    expect(judge.answered(at(2501, none()))?.broken).toBe('NO_ANSWER_WHILE_ALL_IS_THERE');
  });

  it.each(['INTERNAL', 'RESOURCE_EXHAUSTED', 'INVALID_ARGUMENT', 'HTTP 401'])('is never %s, also while the authority is away', (code) => {
    const judge = judgeOfOne();
    judge.authorityLeft(1000);
    expect(judge.answered(at(1000, none(code)))?.broken).toBe('STRANGE_ERROR');
  });
});

it('every call ends within its deadline, also one that ends without an answer', () => {
  const judge = judgeOfOne();
  judge.authorityLeft(0);
  expect(judge.answered(at(1000, active(), { answeredAtMs: 4100 }))).toBeUndefined();
  expect(judge.answered(at(1000, active(), { answeredAtMs: 4101 }))?.broken).toBe('LATE');
  expect(judge.answered(at(1000, none(), { answeredAtMs: 4101 }))?.broken).toBe('LATE');
});

it('counts what it could have caught', () => {
  const judge = judgeOfOne();
  judge.revoking('a', 't', 990);
  judge.revoked('a', 't', 1000);
  judge.denied('t', 2000);
  for (const askedAtMs of [1500, 3000, 30_000]) judge.answered(at(askedAtMs, inactive));
  judge.answered(at(500, active()));
  expect(judge.seen).toEqual({ answers: 4, active: 1, inactive: 3, none: 0, afterRevoke: 3, afterDenial: 2, pastTime: 1 });
});

it('keeps every violation, and knows nothing any more of a token that is forgotten', () => {
  const judge = judgeOfOne();
  judge.answered(at(1000, inactive));
  judge.forget('t');
  judge.answered(at(1000, inactive));
  expect(judge.violations.map(({ broken }) => broken)).toEqual(['INACTIVE_WHILE_GOOD']);
});
