// How the command line names what an invalidation is about.
import { expect, test } from 'vitest';
import { aboutWhich, concern } from '../../src/cli/words.ts';

test.each([
  [{ fingerprint: 'f1', issuer: 'dev' }, 'the token with fingerprint f1 of dev'],
  [{ tokenId: 'j-1', issuer: 'dev' }, 'the token with id j-1 of dev'],
  [{ issuer: 'dev' }, 'one token, by what was signed, of dev'],
  [{ userId: 'u', projectId: 'p' }, 'user u and project p'],
  [{ everything: true, issuer: 'dev' }, 'everything of dev'],
  [{ catalog: true, issuer: 'dev' }, 'the service catalogs of dev'],
])('a selector %j is told as "%s"', (selector, words) => {
  expect(aboutWhich(selector)).toBe(words);
});

test('who may not see selectors is told the tags, and everything where there are none', () => {
  const seen = { kind: 'invalidation', cursor: { journal: 'J', revision: 1n }, effect: 'REVOKE', entryId: 'e' } as const;
  expect(concern({ ...seen, tags: [1n, 255n] } as never)).toBe('tags 0000000000000001 00000000000000ff');
  expect(concern({ ...seen, tags: [] } as never)).toBe('everything');
});
