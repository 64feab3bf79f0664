// A request with a field that this version does not know is refused, at every depth.
import { describe, expect, it } from 'vitest';
import { Demand, RevokeRequest, ValidateRequest, WatchRequest } from '../../src/gen/sidegate/v1/token_service.ts';
import { rejectUnknownFields } from '../../src/wire/unknown-fields.ts';

/** Field 500, length-delimited, "x". */
const strange = [0xa2, 0x1f, 0x01, 0x78];
const field = (number: number, bytes: Uint8Array | number[]) => [(number << 3) | 2, bytes.length, ...bytes];
const refusal = (message: string) => expect.objectContaining({ code: 'INVALID_ARGUMENT', reason: 'UNKNOWN_FIELD', message });
const check = (message: object) => () => rejectUnknownFields(message);

describe('unknown fields', () => {
  it('a request of known fields passes, however deep', () => {
    const demand: Parameters<typeof Demand.fromPartial>[0] = { scope: { $case: 'projectId', value: 'p' }, anyOfRoles: ['a', 'b'] };
    const request = ValidateRequest.fromPartial({
      credential: { $case: 'token', value: 't' },
      demand,
      maxStaleness: { seconds: 1n },
      atLeastAsFresh: { $case: 'cursor', value: { journal: 'J' } },
    });
    expect(check(ValidateRequest.decode(ValidateRequest.encode(request).finish()))).not.toThrow();
    expect(check(RevokeRequest.decode(RevokeRequest.encode(RevokeRequest.create({ issuedBefore: new Date(0) })).finish()))).not.toThrow();
  });

  it('one at the top is refused', () => {
    expect(check(ValidateRequest.decode(new Uint8Array(strange)))).toThrow(refusal('unknown field 500 in the request'));
  });

  it('one inside is refused by its path', () => {
    expect(check(ValidateRequest.decode(new Uint8Array(field(3, strange))))).toThrow(refusal('unknown field 500 in "demand"'));
    expect(check(WatchRequest.decode(new Uint8Array(field(4, strange))))).toThrow(refusal('unknown field 500 in "checkpoint_interval"'));
  });

  it('one inside a oneof is refused by the name of its case', () => {
    expect(check(ValidateRequest.decode(new Uint8Array(field(6, strange))))).toThrow(refusal('unknown field 500 in "cursor"'));
    expect(check(RevokeRequest.decode(new Uint8Array(field(3, strange))))).toThrow(refusal('unknown field 500 in "selector"'));
  });

  it('a known number with another wire type is unknown', () => {
    expect(check(Demand.decode(new Uint8Array([(4 << 3) | 0, 1])))).toThrow(refusal('unknown field 4 in the request'));
  });

  it('one that is kept for what comes is refused', () => {
    expect(check(WatchRequest.decode(new Uint8Array(field(2, [0x78]))))).toThrow(refusal('unknown field 2 in the request'));
  });
});
