// The quick way to read a request and the generated one are the same way.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { canonical, digestOf } from '../../src/core/raw.ts';
import { ValidateRequest } from '../../src/gen/sidegate/v1/token_service.ts';
import { type ReadQuestion, readValidateRequest } from '../../src/rpc/validate-request.ts';
import { type Question, validateRequestOf } from '../fakes/requests.ts';

const bytesOf = (message: Question): Buffer => Buffer.from(ValidateRequest.encode(validateRequestOf(message)).finish());

/** An empty, known field after it keeps a request from going the quick way, and says nothing more. */
const slowly = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.from([0x2a, 0x00])]);

/** All that a question asks; its text is made when it is asked for. Without the digest, which only says the same shorter. */
function plain(read: ReadQuestion | SidecarError): object {
  if (read instanceof SidecarError) return read;
  const { demand, atLeastAsFresh, maxStalenessMs, wantsClaims, wantsTags, wantsDetails } = read;
  return { raw: read.raw, demand, atLeastAsFresh, maxStalenessMs, wantsClaims, wantsTags, wantsDetails };
}

describe('readValidateRequest', () => {
  it('a token alone is read as the generated code reads it, for any text', () => {
    const token = fc.oneof(
      fc.string({ maxLength: 400 }),
      fc.string({ unit: 'grapheme', maxLength: 50 }),
      fc.constantFrom('', ' ', 't\u00a0', '\ufefft', 't\u2028', 'ü', 'x'.repeat(127), 'x'.repeat(128), 'x'.repeat(16_384)),
    );
    fc.assert(
      fc.property(token, (text) => {
        const bytes = bytesOf({ token: text });
        expect(plain(readValidateRequest(bytes))).toEqual(plain(readValidateRequest(slowly(bytes))));
        expect(readValidateRequest(bytes)).toMatchObject({ raw: ValidateRequest.decode(bytes).credential?.value });
      }),
      { numRuns: 500 },
    );
  });

  it('a token alone comes with the digest under which the validator looks it up', () => {
    expect(readValidateRequest(bytesOf({ token: 'a-token' }))).toMatchObject({ digest: digestOf(canonical('a-token')) });
    expect(readValidateRequest(bytesOf({ token: ' a-token' }))).toMatchObject({ digest: undefined, raw: ' a-token' });
  });

  it('bytes of a token that are no UTF-8 are read as the generated code reads them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (token) => {
        const bytes = Buffer.concat([Buffer.from([0x0a, token.length]), token]);
        expect(readValidateRequest(bytes)).toMatchObject({ raw: ValidateRequest.decode(bytes).credential?.value });
      }),
      { numRuns: 500 },
    );
  });

  it('a no-break space in latin1 is half a character, and no white space around the token', () => {
    const bytes = Buffer.concat([Buffer.from([0x0a, 2]), Buffer.from('t\u00a0', 'latin1')]);

    expect(readValidateRequest(bytes)).toMatchObject({ raw: 't\ufffd' });
  });

  it('every field of a random request is in the question', () => {
    const texts = fc.array(fc.string({ maxLength: 20 }), { maxLength: 3 });
    const request = fc.record({
      token: fc.string({ maxLength: 50 }),
      demand: fc.record({ anyOfIssuers: texts, anyOfAudiences: texts, anyOfRoles: texts, allOfScopes: texts }),
      include: fc.record({ claims: fc.boolean(), tags: fc.boolean(), details: fc.boolean() }),
      maxStaleness: fc.record({ seconds: fc.bigInt({ min: 0n, max: 1_000_000n }), nanos: fc.nat(999_999_999) }),
      atLeastAsFresh: fc.oneof(
        fc.string({ maxLength: 41 }).map((value) => ({ $case: 'entryId' as const, value })),
        fc.nat().map((revision) => ({ $case: 'cursor' as const, value: { journal: 'J', revision: BigInt(revision) } })),
      ),
    });
    fc.assert(
      fc.property(request, (message) => {
        const read = readValidateRequest(bytesOf(message));
        const fresh = message.atLeastAsFresh;
        expect(read).toEqual({
          raw: message.token,
          demand: message.demand,
          atLeastAsFresh:
            fresh.$case === 'entryId' ? { entryId: fresh.value } : { cursor: { journal: 'J', revision: Number(fresh.value.revision) } },
          maxStalenessMs: Number(message.maxStaleness.seconds) * 1000 + Math.floor(message.maxStaleness.nanos / 1e6),
          wantsClaims: message.include.claims,
          wantsTags: message.include.tags,
          wantsDetails: message.include.details,
          wantsHandle: false,
        });
      }),
      { numRuns: 300 },
    );
  });

  it('what is cut short or no message at all is an error as a value, never thrown', () => {
    const whole = bytesOf({ token: 'a-token', demand: { anyOfRoles: ['r'] }, include: { tags: true } });
    for (let length = 0; length <= whole.length; length += 1) expect(() => readValidateRequest(whole.subarray(0, length))).not.toThrow();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const read = readValidateRequest(Buffer.from(bytes));
        expect(read instanceof SidecarError ? read.code : 'INVALID_ARGUMENT').toBe('INVALID_ARGUMENT');
      }),
      { numRuns: 2000 },
    );
    expect(readValidateRequest(whole.subarray(0, 5))).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'MESSAGE_MALFORMED' });
  });

  it('of a token that is there twice the last one is meant, as everywhere', () => {
    expect(readValidateRequest(Buffer.concat([bytesOf({ token: 'a' }), bytesOf({ token: 'b' })]))).toMatchObject({ raw: 'b' });
  });

  it.each([
    { name: 'project', scope: { $case: 'projectId' as const, value: '' } },
    { name: 'domain', scope: { $case: 'domainId' as const, value: '' } },
    { name: 'system', scope: { $case: 'system' as const, value: false } },
  ])('a demand for an empty $name is a mistake, and never "any"', ({ scope }) => {
    expect(readValidateRequest(bytesOf({ token: 't', demand: { scope } }))).toMatchObject({ reason: 'DEMAND_EMPTY_SCOPE' });
  });

  it.each([
    { scope: { $case: 'projectId' as const, value: 'p' }, read: { kind: 'project', id: 'p' } },
    { scope: { $case: 'domainId' as const, value: 'd' }, read: { kind: 'domain', id: 'd' } },
    { scope: { $case: 'system' as const, value: true }, read: { kind: 'system' } },
  ])('a demand for $read.kind is read', ({ scope, read }) => {
    expect(readValidateRequest(bytesOf({ token: 't', demand: { scope, certificateThumbprint: 'x' } }))).toMatchObject({
      demand: { scope: read, certificateThumbprint: 'x' },
    });
  });
});
