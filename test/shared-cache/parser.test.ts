// The parser: the same messages however the bytes come, and a refusal of what no server should send, with its header.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createParser, ProtocolError } from '../../src/shared-cache/parser.ts';
import { answer } from '../fakes/memcached-hostile.ts';

const maxBodyBytes = 1_000;
const answers = [
  answer({ opaque: 1, opcode: 0, value: Buffer.from('first'), extras: Buffer.alloc(4) }),
  answer({ opaque: 2, opcode: 1 }),
  answer({ opaque: 0xffffffff, opcode: 0, status: 1, value: Buffer.from('Not found') }),
  answer({ opaque: 4, opcode: 0, value: Buffer.alloc(maxBodyBytes - 4, 'x'), extras: Buffer.alloc(4) }),
];

describe('the parser', () => {
  it('reads the same messages wherever the bytes are cut', () => {
    const bytes = Buffer.concat(answers);
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: bytes.length }), { maxLength: 40 }), (cuts) => {
        const parse = createParser(maxBodyBytes);
        const ends = [...cuts.sort((a, b) => a - b), bytes.length];
        const messages = ends.flatMap((end, at) => [...parse(bytes.subarray(ends[at - 1] ?? 0, end))]);
        expect(messages.map(({ header, val }) => [header.opaque, header.opcode, header.status, val.length])).toEqual([
          [1, 0, 0, 5],
          [2, 1, 0, 0],
          [0xffffffff, 0, 1, 9],
          [4, 0, 0, maxBodyBytes - 4],
        ]);
      }),
    );
  });

  it('gives extras, key and value apart', () => {
    const [message] = createParser(maxBodyBytes)(
      answer({ opaque: 1, opcode: 0, extras: Buffer.from('eeee'), key: Buffer.from('kk'), value: Buffer.from('v') }),
    );

    expect([message?.extras.toString(), message?.key.toString(), message?.val.toString()]).toEqual(['eeee', 'kk', 'v']);
  });

  it.each([
    ['the magic of a request', { magic: 0x80 }],
    ['no magic', { magic: 0 }],
    ['a data type', { dataType: 1 }],
    ['lengths that do not fit one another', { keyLength: 9, extrasLength: 9, bodyLength: 17 }],
    ['a body over the limit', { bodyLength: maxBodyBytes + 1 }],
    ['a body of 4 GiB', { bodyLength: 0xffffffff }],
  ])('refuses %s with the header, before any of the body has come', (_, header) => {
    const bytes = answer({ opaque: 1, opcode: 0, ...header }).subarray(0, 24);

    expect(() => createParser(maxBodyBytes)(bytes)).toThrow(ProtocolError);
  });
});
