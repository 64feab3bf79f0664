// The rarer parts of a ValidateRequest: each is read, and what contradicts itself is refused.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { ValidateRequest } from '../../src/gen/sidegate/v1/token_service.ts';
import { askedFor, type ReadQuestion, readValidateRequest } from '../../src/rpc/validate-request.ts';

type Said = Parameters<typeof ValidateRequest.fromPartial>[0];

const token = { $case: 'token' as const, value: 't' };
const handle = { $case: 'handle' as const, value: 'ab' };
const read = (said: Said): ReadQuestion | SidecarError =>
  readValidateRequest(Buffer.from(ValidateRequest.encode(ValidateRequest.fromPartial(said)).finish()));

describe('what a request says beside the token', () => {
  it.each<{ readonly what: string; readonly said: Said; readonly question: object }>([
    { what: 'a handle', said: { credential: handle }, question: { raw: '', more: { handle: 'ab' } } },
    { what: 'a service token', said: { credential: token, serviceToken: 's' }, question: { raw: 't', more: { serviceToken: 's' } } },
    {
      what: 'the catalog',
      said: { credential: token, include: { catalog: true } },
      question: { more: { catalog: true }, catalogFilter: { regions: [], services: [] } },
    },
    {
      what: 'a part of the catalog',
      said: { credential: token, include: { catalog: true, catalogRegions: ['r'], catalogServices: ['s'] } },
      question: { more: { catalog: true }, catalogFilter: { regions: ['r'], services: ['s'] } },
    },
    {
      what: 'stale facts',
      said: { credential: token, staleIfUnavailable: { seconds: 30n, nanos: 5_000_000 } },
      question: { more: { staleIfUnavailableMs: 30_005 } },
    },
    {
      what: 'no stale facts, said aloud',
      said: { credential: token, staleIfUnavailable: {} },
      question: { more: { staleIfUnavailableMs: 0 } },
    },
    {
      what: 'the handle of the answer',
      said: { credential: token, include: { handle: true } },
      question: { more: undefined, wantsHandle: true },
    },
    {
      what: 'the request at hand',
      said: { credential: token, demand: { access: { service: 'compute', method: 'get', path: '/x' } } },
      question: { more: undefined, demand: { access: { service: 'compute', method: 'GET', path: '/x' } } },
    },
  ])('$what', ({ said, question }) => {
    expect(read(said)).toMatchObject(question);
  });

  it('what is not said is not there: a hit looks no further', () => {
    expect(read({ credential: token, demand: {}, include: { tags: true, claims: true, details: true } })).toMatchObject({
      more: undefined,
      wantsHandle: false,
      catalogFilter: undefined,
    });
  });

  it('several at once are all read', () => {
    const said: Said = {
      credential: handle,
      serviceToken: 's',
      include: { catalog: true, handle: true },
      staleIfUnavailable: { seconds: 1n },
    };

    expect(read(said)).toMatchObject({
      more: { handle: 'ab', serviceToken: 's', catalog: true, staleIfUnavailableMs: 1000 },
      wantsHandle: true,
    });
  });

  it('no caller can say what only a service token or the Keystone face may: an expired token, or rules that it enforces itself', () => {
    const text = fc.string({ maxLength: 5 });
    const said = fc.record({
      credential: fc.oneof(
        text.map((value) => ({ $case: 'token' as const, value })),
        text.map((value) => ({ $case: 'handle' as const, value })),
      ),
      serviceToken: text,
      include: fc.record({ catalog: fc.boolean(), handle: fc.boolean(), catalogRegions: fc.array(text, { maxLength: 1 }) }),
      staleIfUnavailable: fc.record({ seconds: fc.bigInt({ min: -5n, max: 5n }), nanos: fc.integer({ min: -5, max: 5 }) }),
      demand: fc.record({ access: fc.record({ service: text, method: text, path: text }) }),
    });
    fc.assert(
      fc.property(said, (one) => {
        const question = read(one);
        const asked = question instanceof SidecarError ? undefined : question;
        expect(question instanceof SidecarError ? question.code : 'INVALID_ARGUMENT').toBe('INVALID_ARGUMENT');
        expect(asked?.more?.allowExpired ?? asked?.more?.expiredOf ?? asked?.demand?.expiredWithinMs).toBeUndefined();
        expect(asked?.demand?.access).not.toBe('enforced-by-caller');
      }),
      { numRuns: 300 },
    );
  });
});

describe('a request that contradicts itself is INVALID_ARGUMENT', () => {
  it.each<{ readonly reason: string; readonly said: Said }>([
    { reason: 'CATALOG_NOT_WANTED', said: { credential: token, include: { catalogRegions: ['r'] } } },
    { reason: 'CATALOG_NOT_WANTED', said: { credential: token, include: { catalogServices: ['s'], catalog: false } } },
    { reason: 'HANDLE_MALFORMED', said: { credential: { $case: 'handle', value: '' } } },
    { reason: 'DEMAND_ACCESS_INCOMPLETE', said: { credential: token, demand: { access: {} } } },
    { reason: 'DEMAND_ACCESS_INCOMPLETE', said: { credential: token, demand: { access: { service: 's', method: 'GET' } } } },
    { reason: 'DEMAND_ACCESS_INCOMPLETE', said: { credential: token, demand: { access: { service: 's', path: '/' } } } },
    { reason: 'DEMAND_ACCESS_INCOMPLETE', said: { credential: token, demand: { access: { method: 'GET', path: '/' } } } },
  ])('$reason: $said', ({ reason, said }) => {
    expect(read(said)).toMatchObject({ code: 'INVALID_ARGUMENT', reason });
  });

  it.each([
    { seconds: -1n, nanos: 0 },
    { seconds: 0n, nanos: -1 },
    { seconds: 10n ** 15n, nanos: 0 },
  ])('a stale_if_unavailable of $seconds s and $nanos ns', (staleIfUnavailable) => {
    expect(read({ credential: token, staleIfUnavailable })).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('what FindToken shall answer', () => {
  it('is read as of a Validate', () => {
    expect(
      askedFor({ claims: true, tags: true, details: true, handle: true, catalog: true, catalogRegions: ['r'], catalogServices: [] }),
    ).toMatchObject({
      wantsClaims: true,
      wantsTags: true,
      wantsDetails: true,
      wantsHandle: true,
      catalogFilter: { regions: ['r'], services: [] },
    });
    expect(askedFor(undefined)).toMatchObject({ wantsClaims: false, wantsHandle: false, catalogFilter: undefined });
  });

  it('that contradicts itself is refused', () => {
    const include = {
      claims: false,
      tags: false,
      details: false,
      handle: false,
      catalog: false,
      catalogRegions: ['r'],
      catalogServices: [],
    };

    expect(() => askedFor(include)).toThrow(SidecarError);
  });
});
