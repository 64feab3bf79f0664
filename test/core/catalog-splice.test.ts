// The catalog cut out of Keystone's bytes and put back: byte for byte, wherever it stands and whatever stands around it.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cutCatalog, spliceCatalog } from '../../src/core/catalog-splice.ts';
import captured from '../vectors/keystone-bodies.json' with { type: 'json' };

const kinds = Object.entries(captured.bodies);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (from: Uint8Array): string => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(from);
/** As Keystone frames it. */
const body = (token: string): Uint8Array => bytes(`{"token": ${token}}`);

/** Cut, and put back by what the cut told. */
function roundTrip(token: string, framed = body(token)): string {
  const { claims, catalogAt, catalog } = cutCatalog(framed);
  return text(spliceCatalog(bytes(claims), catalogAt, bytes(catalog)));
}

describe('a captured body', () => {
  it('is one of fifteen kinds, most of them with a catalog', () => {
    expect(kinds).toHaveLength(15);
    expect(kinds.filter(([, it]) => it.withCatalog.includes('"catalog": ['))).toHaveLength(13);
  });

  it.each(kinds)('%s without its catalog is what Keystone itself writes for ?nocatalog', (_kind, { withCatalog, withoutCatalog }) => {
    expect(`{"token": ${cutCatalog(bytes(withCatalog)).claims}}`).toBe(withoutCatalog);
    expect(cutCatalog(bytes(withoutCatalog))).toEqual({
      claims: withoutCatalog.slice('{"token": '.length, -1),
      catalogAt: -1,
      catalog: '',
    });
  });

  it.each(kinds.filter(([, it]) => it.withCatalog !== it.withoutCatalog))(
    '%s is whole again with its catalog back in its place, byte for byte',
    (_kind, { withCatalog }) => {
      const { claims, catalogAt, catalog } = cutCatalog(bytes(withCatalog));
      expect(JSON.parse(catalog)).toEqual(JSON.parse(withCatalog).token.catalog);
      expect(`{"token": ${text(spliceCatalog(bytes(claims), catalogAt, bytes(catalog)))}}`).toBe(withCatalog);
    },
  );

  it.each(kinds.filter(([, it]) => it.withCatalog !== it.withoutCatalog))(
    '%s fetched without its catalog is whole with that of another token, byte for byte',
    (_kind, { withCatalog, withoutCatalog }) => {
      const { claims, catalogAt } = cutCatalog(bytes(withoutCatalog));
      const { catalog } = cutCatalog(bytes(withCatalog));
      expect(`{"token": ${text(spliceCatalog(bytes(claims), catalogAt, bytes(catalog)))}}`).toBe(withCatalog);
    },
  );

  it('has its catalog in the middle where Keystone writes more after it', () => {
    const { claims, catalogAt } = cutCatalog(bytes(captured.bodies.oauth1.withCatalog));
    expect(text(bytes(claims).subarray(catalogAt))).toMatch(/^, "OS-OAUTH1": \{/);
  });
});

describe('the catalog', () => {
  it.each([
    ['first', '{"catalog": [1, 2], "a": 3, "b": 4}', '{"a": 3, "b": 4}', 1],
    ['in the middle', '{"a": 3, "catalog": [1, 2], "b": 4}', '{"a": 3, "b": 4}', 7],
    ['last', '{"a": 3, "catalog": [1, 2]}', '{"a": 3}', 7],
    ['alone', '{"catalog": [1, 2]}', '{}', 1],
    ['behind two bytes for one letter', '{"é": 3, "catalog": [1, 2]}', '{"é": 3}', 8],
    ['behind four bytes for one sign', '{"\u{1f600}": 3, "catalog": [1, 2]}', '{"\u{1f600}": 3}', 10],
  ])('%s is cut with its comma and put back', (_where, token, claims, catalogAt) => {
    expect(cutCatalog(body(token))).toEqual({ claims, catalogAt, catalog: '[1, 2]' });
    expect(roundTrip(token)).toBe(token);
  });

  it.each([
    ['compact', '{"a":3,"catalog":[1,2],"b":4}'],
    ['compact and first', '{"catalog":[1,2],"a":3}'],
    ['compact and second of two', '{"a":3,"catalog":[1,2]}'],
    ['on lines', '{\n  "a": 3,\n  "catalog": [\n    1\n  ],\n  "b": 4\n}'],
    ['on lines and first', '{\n  "catalog": [\n    1\n  ],\n  "a": 3\n}'],
    ['on lines and last', '{\n  "a": 3,\n  "catalog": []\n}'],
    ['on lines that end as Windows ends them', '{\r\n\t"a" : 3 ,\r\n\t"catalog" : [] ,\r\n\t"b" : 4\r\n}'],
  ])('%s comes back with the space that it had', (_how, token) => {
    expect(roundTrip(token)).toBe(token);
  });

  it.each([
    ['of another', '{"a": "\\"catalog\\": [1]", "b": {"catalog": [2]}, "c": [{"catalog": [3]}]}'],
    ['as a value', '{"a": "catalog", "b": ["catalog"]}'],
    ['nearly', '{"Catalog": [1], "catalogs": [2], "catalog ": [3], "": [4]}'],
  ])('%s is none', (_what, token) => {
    expect(cutCatalog(body(token))).toEqual({ claims: token, catalogAt: -1, catalog: '' });
  });

  it.each(['null', '{}', '"x"', '17', 'true', '-1.5e3', '[]', '[[], {"a": "]"}, "}"]'])('may be %s', (value) => {
    for (const token of [`{"a": 3, "catalog": ${value}}`, `{"catalog": ${value}, "a": 3}`, `{"a": 3, "catalog": ${value}, "b": 4}`]) {
      expect(cutCatalog(body(token)).catalog).toBe(value);
      expect(roundTrip(token)).toBe(token);
    }
  });

  it('whose name is written with an escape is found, and put back without it', () => {
    const token = '{"a": 3, "c\\u0061talog": [1]}';
    expect(cutCatalog(body(token))).toMatchObject({ claims: '{"a": 3}', catalog: '[1]' });
    expect(roundTrip(token)).toBe('{"a": 3, "catalog": [1]}');
  });

  it('is that of the token, not of what stands beside it', () => {
    expect(cutCatalog(bytes('{"catalog": [1], "token": {"a": 3, "catalog": [2]}, "x": {"catalog": [3]}}\n'))).toEqual({
      claims: '{"a": 3}',
      catalogAt: 7,
      catalog: '[2]',
    });
  });

  it.each([
    ['last', '{"a": 3, "roles": []}', '{"a": 3, "roles": [], "catalog": [1]}'],
    ['before the credential', '{"a": 3, "application_credential": {}}', '{"a": 3, "catalog": [1], "application_credential": {}}'],
    [
      'before the providers',
      '{"a": 3, "service_providers": [], "OS-OAUTH1": {}}',
      '{"a": 3, "catalog": [1], "service_providers": [], "OS-OAUTH1": {}}',
    ],
    ['first of all, where nothing stands before', '{"OS-OAUTH1": {}}', '{"catalog": [1], "OS-OAUTH1": {}}'],
    ['alone', '{}', '{"catalog": [1]}'],
    ['last on lines', '{\n "a": 3\n}', '{\n "a": 3,\n "catalog": [1]\n}'],
  ])('that was not there goes %s', (_where, claims, whole) => {
    expect(text(spliceCatalog(bytes(claims), -1, bytes('[1]')))).toBe(whole);
  });
});

describe('any token', () => {
  /** Names and strings that try to be what is looked for. */
  const tricky = fc.constantFrom(
    'catalog',
    '"catalog": [',
    'token',
    '\\',
    '\\"',
    '{',
    '}',
    ',',
    ':',
    '\u{1f600}',
    'é',
    '\n',
    '',
    '__proto__',
  );
  // As it comes out of JSON: without a negative zero.
  const json = fc.jsonValue({ maxDepth: 3 }).map((it): unknown => JSON.parse(JSON.stringify(it)));
  const value = fc.oneof(json, tricky, fc.array(tricky), fc.dictionary(tricky, tricky));
  const others = fc.uniqueArray(
    fc.tuple(
      fc.oneof(
        fc.string(),
        tricky.filter((it) => it !== 'catalog'),
      ),
      value,
    ),
    {
      selector: ([name]) => name,
      maxLength: 6,
    },
  );
  /** As Python's json.dumps, JavaScript's JSON.stringify, and both with lines write a list of members. */
  const written = (members: readonly (readonly [string, unknown])[], style: 'python' | 'compact' | number): string => {
    if (typeof style === 'number') return JSON.stringify(Object.fromEntries(members), undefined, style);
    const [comma, colon] = style === 'python' ? [', ', ': '] : [',', ':'];
    return `{${members.map(([name, it]) => `${JSON.stringify(name)}${colon}${JSON.stringify(it)}`).join(comma)}}`;
  };
  const styles = fc.constantFrom<'python' | 'compact' | number>('python', 'compact', 1, 2, 4);
  // `__proto__` and names that look like numbers are moved or lost by Object.fromEntries, not by what is tested.
  const plain = (name: string): boolean => name !== 'catalog' && name !== '__proto__' && !/^\d+$/.test(name);

  it('is the same bytes again', () => {
    fc.assert(
      fc.property(others, value, fc.nat(), styles, (all, catalog, place, style) => {
        const members: (readonly [string, unknown])[] = all.filter(([name]) => plain(name));
        // Alone it has nobody to take its spaces from, and has Python's.
        fc.pre(members.length > 0 || style === 'python');
        members.splice(place % (members.length + 1), 0, ['catalog', catalog]);
        const token = written(members, style);
        const { claims, catalogAt, catalog: cut } = cutCatalog(body(token));
        expect(JSON.parse(claims)).toEqual(Object.fromEntries(members.filter(([name]) => name !== 'catalog')));
        expect(JSON.parse(cut)).toEqual(catalog);
        expect(text(spliceCatalog(bytes(claims), catalogAt, bytes(cut)))).toBe(token);
      }),
      { numRuns: 1_000 },
    );
  });

  it('without one is left as it is', () => {
    fc.assert(
      fc.property(others, styles, (all, style) => {
        const token = written(
          all.filter(([name]) => plain(name)),
          style,
        );
        expect(cutCatalog(body(token))).toEqual({ claims: token, catalogAt: -1, catalog: '' });
      }),
    );
  });

  it('with space scattered about it keeps its value and its order', () => {
    const spaces = fc.array(fc.constantFrom('', ' ', '\n', '\t', '\r\n  '), { minLength: 40, maxLength: 40 });
    fc.assert(
      fc.property(others, fc.nat(), spaces, (all, place, gaps) => {
        const members: (readonly [string, unknown])[] = all.filter(([name]) => plain(name));
        members.splice(place % (members.length + 1), 0, ['catalog', [{ type: 'compute' }]]);
        let n = 0;
        const gap = (): string => gaps[n++ % gaps.length] ?? '';
        const token = `{${members.map(([name, it]) => `${gap()}${JSON.stringify(name)}${gap()}:${gap()}${JSON.stringify(it)}${gap()}`).join(',')}}`;
        const again = roundTrip(token, bytes(`${gap()}{${gap()}"token"${gap()}:${gap()}${token}${gap()}}${gap()}`));
        // Printed, so that the order counts.
        expect(JSON.stringify(JSON.parse(again))).toBe(JSON.stringify(JSON.parse(token)));
      }),
      { numRuns: 300 },
    );
  });
});
