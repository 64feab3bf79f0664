// Reading an answer cautiously: active only on all the evidence.
import { describe, expect, it } from 'vitest';
import { answerFromMessage, invalidatedFromMessage, revokedFromMessage } from '../../src/client/answer.ts';
import {
  Forwarding,
  InactiveReason,
  Provenance,
  Reach,
  RefreshResponse,
  RevokeResponse,
  Token,
  ValidateResponse,
} from '../../src/gen/sidegate/v1/token_service.ts';

const asOf = { journal: 'J', revision: 5n };
const token = Token.fromPartial({ issuer: 'central', format: 'opaque', user: { id: 'alice' } });
const active = ValidateResponse.fromPartial({
  active: true,
  token,
  asOf,
  fingerprint: 'f',
  provenance: Provenance.MEMORY,
  maxAge: { seconds: 2n },
});
const malformed = expect.objectContaining({ name: 'NoAnswerError', reason: 'ANSWER_MALFORMED' });

describe('an answer', () => {
  it('that is active has facts, a position and a permission', () => {
    expect(answerFromMessage(active)).toMatchObject({
      active: true,
      token: { issuer: 'central', user: { id: 'alice' } },
      asOf: { journal: 'J', revision: 5 },
      maxAgeMs: 2000,
      provenance: 'memory',
    });
  });

  it('without a permission may not be repeated', () => {
    expect(answerFromMessage({ ...active, maxAge: undefined })).toMatchObject({ active: true, maxAgeMs: 0 });
  });

  it('that is empty is a refusal', () => {
    expect(answerFromMessage(ValidateResponse.create())).toMatchObject({ active: false, reason: 'UNKNOWN' });
  });

  it('with a reason that nobody knows is inactive, reason unknown', () => {
    const message = ValidateResponse.fromPartial({ active: false, reason: 33 as InactiveReason });
    expect(answerFromMessage(message)).toMatchObject({ active: false, reason: 'WRONG_SCOPE' });
    expect(answerFromMessage({ ...message, reason: 60 as InactiveReason })).toMatchObject({ active: false, reason: 'UNKNOWN' });
  });

  it('that says active and gives a reason against it is inactive', () => {
    expect(answerFromMessage({ ...active, reason: InactiveReason.REVOKED })).toMatchObject({ active: false, reason: 'REVOKED' });
    expect(answerFromMessage({ ...active, reason: 60 as InactiveReason })).toMatchObject({ active: false, reason: 'UNKNOWN' });
  });

  it('from a place that nobody knows is still an answer', () => {
    expect(answerFromMessage({ ...active, provenance: 9 as Provenance })).toMatchObject({ active: true, provenance: 'unknown' });
  });

  it('has a word for every reason and every provenance that the API has', () => {
    const named = <Value extends number>(all: Readonly<Record<string, Value>>) => Object.entries(all).filter(([, value]) => value > 0);
    const reasons = named(InactiveReason);
    expect(reasons.length).toBeGreaterThanOrEqual(16);
    const said = reasons.map(([, reason]) => answerFromMessage(ValidateResponse.fromPartial({ reason })));
    expect(said.map((answer) => !answer.active && answer.reason)).toEqual(reasons.map(([name]) => name));
    const places = named(Provenance);
    expect(places.map(([, provenance]) => answerFromMessage({ ...active, provenance }).provenance)).toEqual(
      places.map(([name]) => name.toLowerCase()),
    );
  });

  it('has the catalog, the handle and the facts of the service token where they were sent', () => {
    const endpoint = { id: 'e', interface: 'public', regionId: 'R', url: 'https://nova' };
    const catalog = [{ id: 's', type: 'compute', name: 'nova', endpoints: [endpoint] }];
    const service = Token.fromPartial({ issuer: 'other', user: { id: 'glance' } });
    const read = answerFromMessage({ ...active, token: { ...token, catalog }, service, handle: 'h' });
    expect(read).toMatchObject({ token: { catalog }, service: { issuer: 'other', user: { id: 'glance' } }, handle: 'h' });
    const bare = answerFromMessage(active);
    expect([bare.token && 'catalog' in bare.token, 'service' in bare, 'handle' in bare]).toEqual([false, false, false]);
  });

  it('that is a refusal has the facts of a good service token, and no handle', () => {
    const service = Token.fromPartial({ issuer: 'other' });
    const read = answerFromMessage(ValidateResponse.fromPartial({ reason: InactiveReason.REVOKED, service, handle: 'h' }));
    expect(read).toMatchObject({ active: false, service: { issuer: 'other' } });
    expect(read).not.toHaveProperty('handle');
  });

  it('has the access rules of an application credential', () => {
    const rule = { id: 'r', service: 'compute', method: 'GET', path: '/v2.1/**' };
    const credential = { id: 'c', accessRules: [rule] };
    const read = answerFromMessage({ ...active, token: Token.fromPartial({ issuer: 'i', applicationCredential: credential }) });
    expect(read.token?.applicationCredential?.accessRules).toEqual([rule]);
  });

  it.each([
    [Forwarding.ACCEPTED, 'accepted'],
    [Forwarding.PENDING, 'pending'],
    [Forwarding.REJECTED, 'rejected'],
    [9 as Forwarding, 'unknown'],
    [Forwarding.UNSPECIFIED, undefined],
  ])('about a revocation with forwarding %i says %s', (forwarding, said) => {
    const read = revokedFromMessage(RevokeResponse.fromPartial({ asOf, entryId: 'e', forwarding }));
    expect(read.forwarding).toBe(said);
    expect('forwarding' in read).toBe(said !== undefined);
  });

  it('that says active without facts or without a position is no answer', () => {
    expect(() => answerFromMessage({ ...active, token: undefined })).toThrow(malformed);
    expect(() => answerFromMessage({ ...active, asOf: undefined })).toThrow(malformed);
  });

  it('tells what killed the token', () => {
    const revokedBy = { cursor: asOf, effect: 1 as const, entryId: 'e', issuedBefore: new Date(1_700_000_000_000) };
    const message = ValidateResponse.fromPartial({ reason: InactiveReason.REVOKED, revokedBy });
    expect(answerFromMessage(message)).toMatchObject({
      active: false,
      revokedBy: { cursor: { journal: 'J', revision: 5 }, effect: 'REVOKE', entryId: 'e', issuedBeforeMs: 1_700_000_000_000 },
    });
  });

  it('about an invalidation has a position', () => {
    expect(() => invalidatedFromMessage(RevokeResponse.create())).toThrow(malformed);
    expect(invalidatedFromMessage(RevokeResponse.fromPartial({ asOf, entryId: 'e', reachedAt: new Date(7) }))).toEqual({
      asOf: { journal: 'J', revision: 5 },
      entryId: 'e',
      reach: 'unknown',
      reachedAtMs: 7,
    });
  });

  it.each([
    [Reach.SIDECAR, 'sidecar'],
    [Reach.SHARED, 'shared'],
    [Reach.FLEET, 'fleet'],
    [Reach.UNSPECIFIED, 'unknown'],
    [9 as Reach, 'unknown'],
  ])('about a revocation with reach %i says %s, and who lags', (reach, said) => {
    const read = revokedFromMessage(RevokeResponse.fromPartial({ asOf, entryId: 'e', reach, laggingSidecars: ['nova-3'] }));
    expect(read).toMatchObject({ reach: said, laggingSidecars: ['nova-3'] });
    expect(revokedFromMessage(RevokeResponse.fromPartial({ asOf, reach })).laggingSidecars).toEqual([]);
    expect(invalidatedFromMessage(RefreshResponse.fromPartial({ asOf, reach }))).toMatchObject({ reach: said });
  });
});
