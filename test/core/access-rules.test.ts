// Which requests access rules allow: keystonemiddleware's own pairs, what it would let through by accident, and that no pattern is slow.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Access, allows } from '../../src/core/access-rules.ts';
import type { AccessRule } from '../../src/core/token.ts';

const rule = (path: string, more: Partial<AccessRule> = {}): AccessRule => ({ id: 'r', service: 'compute', method: 'GET', path, ...more });
const get = (path: string, more: Partial<Access> = {}): Access => ({ service: 'compute', method: 'GET', path, ...more });
const fits = (pattern: string, path: string): boolean => allows([rule(pattern)], get(path));

describe('a rule', () => {
  it('allows its own request', () => {
    expect(allows([rule('/v2.1/servers')], get('/v2.1/servers'))).toBe(true);
  });

  it.each([
    ['another service', get('/v2.1/servers', { service: 'image' })],
    ['another method', get('/v2.1/servers', { method: 'HEAD' })],
    ['its method in small letters', get('/v2.1/servers', { method: 'get' })],
    ['another path', get('/v2.1/flavors')],
    ['more of its path', get('/v2.1/servers/detail')],
    ['less of its path', get('/v2.1')],
    ['a slash more', get('/v2.1/servers/')],
    ['a slash twice', get('/v2.1//servers')],
    ['a line more', get('/v2.1/servers\n')],
    ['no path', get('')],
  ])('does not allow %s', (_what, access) => {
    expect(allows([rule('/v2.1/servers')], access)).toBe(false);
  });

  it('is enough where it is one of many, whichever', () => {
    const rules = [rule('/a'), rule('/b', { method: 'POST' }), rule('/c', { service: 'image' })];
    expect(
      [get('/a'), get('/b'), get('/b', { method: 'POST' }), get('/c'), get('/c', { service: 'image' })].map((it) => allows(rules, it)),
    ).toEqual([true, false, true, false, true]);
  });

  it('is not put together from two', () => {
    expect(allows([rule('/a', { service: 'image' }), rule('/b')], get('/a'))).toBe(false);
  });

  it('there is none: nothing is allowed', () => {
    expect(allows([], get('/'))).toBe(false);
  });
});

describe('a path', () => {
  // keystonemiddleware's test_access_rules.
  it.each([
    ['/v2/*/volumes/*', '/v2/deadbeef/volumes/abc'],
    ['/v2/{project_id}/volumes/{volume_id}', '/v2/deadbeef/volumes/abc'],
    ['/v2/{project_id}/volumes/*', '/v2/deadbeef/volumes/abc'],
    ['/v2/**/volumes/*', '/v2/deadbeef/a/b/volumes/abc'],
    ['/v2/**', '/v2/deadbeef/volumes/abc'],
    ['/**', '/v2/deadbeef'],
    ['**', '/v2/deadbeef'],
    ['*', 'v2'],
    ['/v2/*', '/v2/deadbeef'],
    ['/v2/*.json', '/v2/a.json'],
    ['/v2/a*', '/v2/ab'],
    ['/v2/a*b', '/v2/axyb'],
    ['/v2/{a}{b}', '/v2/xy'],
    ['/v2/***', '/v2/a/b'],
    ['/{}', '/v2'],
    ['/v2/**', '/v2/'],
    ['/{a/b}/c', '/x/c'],
  ])('as the rule %s says fits %s', (pattern, path) => {
    expect(fits(pattern, path)).toBe(true);
  });

  it.each([
    ['/v2/*', '/v2/'],
    ['/v2/*', '/v2/a/b'],
    ['/v2/*', '/v2'],
    ['/v2/{project_id}', '/v2/'],
    ['/v2/{project_id}', '/v2/a/b'],
    ['/v2/*/volumes', '/v2//volumes'],
    ['/v2/**/volumes', '/v2/volumes'],
    ['/v2/**', '/v2'],
    ['/v2/**', '/v3/x'],
    ['/v2/***', '/v2/'],
    ['/v2/{a}{b}', '/v2/x'],
    ['*', '/v2'],
    ['', '/'],
  ])('as the rule %s says does not fit %s', (pattern, path) => {
    expect(fits(pattern, path)).toBe(false);
  });

  it.each([
    ['/v2.1', '/v2x1'],
    ['/a+', '/aa'],
    ['/(a|b)', '/a'],
    ['/[ab]', '/a'],
    ['/a?', '/'],
    ['/a$', '/a'],
    ['/\\w', '/a'],
    ['/{open', '/x'],
  ])('is text where the rule %s holds what regular expressions know: not %s', (pattern, path) => {
    expect(fits(pattern, path)).toBe(false);
    expect(fits(pattern, pattern)).toBe(true);
  });

  it('agrees with the regular expression that the middleware makes of the same rule', () => {
    const piece = fc.constantFrom('/', 'a', 'b', 'v2', '*', '**', '{id}', '*', '/');
    const pattern = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));
    const path = fc.array(fc.constantFrom('/', 'a', 'b', 'v2'), { maxLength: 8 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(pattern, path, (it, at) => {
        const expression = it.replace(/\{[^}]*\}|\*\*|\*/g, (word) => (word === '**' ? '.*' : '[^/]+'));
        expect(fits(it, at)).toBe(new RegExp(`^${expression}$`).test(at));
      }),
      { numRuns: 3_000 },
    );
  });

  it('of 64 kB against a rule made to be slow is judged at once', () => {
    const path = `/${'a'.repeat(65_000)}!`;
    const beganMs = performance.now();
    expect(fits(`/${'*a'.repeat(60)}`, path)).toBe(false);
    expect(fits(`/${'**a'.repeat(60)}b`, path)).toBe(false);
    expect(fits('/**!', path)).toBe(true);
    expect(performance.now() - beganMs).toBeLessThan(2_000);
  });
});
