// google.rpc.Status by hand: the bytes are those of the published messages.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeStatusDetails, encodeStatusDetails } from '../../src/wire/status-details.ts';

describe('status details', () => {
  it('come back as they went', () => {
    const bytes = encodeStatusDetails({ code: 14, message: 'no answer', reason: 'KEYSTONE_UNREACHABLE', retryAfterMs: 1500 });
    expect(decodeStatusDetails(bytes)).toEqual({ reason: 'KEYSTONE_UNREACHABLE', retryAfterMs: 1500 });
  });

  it('without a retry say nothing of one', () => {
    expect(decodeStatusDetails(encodeStatusDetails({ code: 3, message: 'm', reason: 'R' }))).toEqual({ reason: 'R' });
    expect(decodeStatusDetails(encodeStatusDetails({ code: 3, message: 'm' }))).toEqual({});
  });

  it('are the bytes that protoc makes of the published messages', () => {
    // google.rpc.Status{14, "m", [Any(ErrorInfo{"R", "sidegate"}), Any(RetryInfo{1.5 s})]}, serialized by Python's protobuf.
    const expected = [
      '080e12016d',
      '1a390a28747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e4572726f72496e666f120d0a0152120873696465676174651a36',
      '0a28747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e5265747279496e666f120a0a0808011080cab5ee01',
    ].join('');
    expect(encodeStatusDetails({ code: 14, message: 'm', reason: 'R', retryAfterMs: 1500 }).toString('hex')).toBe(expected);
  });

  it('of another domain or type are skipped', () => {
    const foreign = encodeStatusDetails({ code: 14, message: 'm', reason: 'R', retryAfterMs: 1500 })
      .toString('latin1')
      .replace('sidegate', 'elsegate');
    expect(decodeStatusDetails(Buffer.from(foreign, 'latin1'))).toEqual({ retryAfterMs: 1500 });
    const renamed = foreign.replace('RetryInfo', 'OtherInfo');
    expect(decodeStatusDetails(Buffer.from(renamed, 'latin1'))).toEqual({});
  });

  it('that are no message at all tell nothing and break nothing', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => typeof decodeStatusDetails(bytes) === 'object'));
    expect(decodeStatusDetails(new Uint8Array([0x1a, 0x7f]))).toEqual({});
  });
});
