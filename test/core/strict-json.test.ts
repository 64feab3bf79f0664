import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseStrictJson } from '../../src/core/strict-json.ts';

const parse = (text: string): unknown => parseStrictJson(Buffer.from(text));

describe('JSON of one reading', () => {
  it.each([
    ['a member twice', '{"a":1,"a":2}'],
    ['a member twice, once in other letters', '{"a":1,"\\u0061":2}'],
    ['a member twice with white space before the colon', '{"a" : 1, "a"\t\n : 1}'],
    ['a member twice deep inside', '{"a":[{"b":{"c":1,"c":1}}]}'],
    ['a member twice after a nested object', '{"a":{"b":1},"a":2}'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":2}'],
    ['nesting of 33', `${'['.repeat(33)}${']'.repeat(33)}`],
    ['nesting of 30,000', `${'['.repeat(30_000)}${']'.repeat(30_000)}`],
    ['a lone surrogate', '{"a":"\\ud800"}'],
    ['a lone surrogate in a name', '{"\\udc00":1}'],
    ['nothing', ''],
    ['half an object', '{"a":'],
    ['a comment', '{"a":1}//'],
    ['a byte order mark', '\ufeff{}'],
  ])('refuses %s', (_what, text) => {
    expect(parse(text)).toBeUndefined();
  });

  it.each([
    ['an invalid byte', [0x22, 0xff, 0x22]],
    ['an overlong form', [0x22, 0xc0, 0xaf, 0x22]],
    ['a surrogate in UTF-8', [0x22, 0xed, 0xa0, 0x80, 0x22]],
  ])('refuses %s', (_what, bytes) => {
    expect(parseStrictJson(Uint8Array.from(bytes))).toBeUndefined();
  });

  it.each([
    ['one name in two objects', '[{"a":1},{"a":1},{"a":{"a":"a"}}]'],
    ['a value that is like a name', '{"a":"a","b":"a"}'],
    ['quotes, braces and colons inside strings', '{"\\"a\\":{":"}","\\\\":"\\\\\\":","c":["d:","d"]}'],
    ['nesting of 32', `${'['.repeat(32)}${']'.repeat(32)}`],
    ['a pair of surrogates', '{"a":"\\ud83d\\ude00 😀"}'],
    ['a bare value', ' 1 '],
  ])('reads %s as JSON.parse does', (_what, text) => {
    expect(parse(text)).toEqual(JSON.parse(text));
  });

  it('reads whatever JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), (text) => {
        expect(parse(text)).toEqual(JSON.parse(text));
      }),
    );
  });
});
