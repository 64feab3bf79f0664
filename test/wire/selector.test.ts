// S3 at the border: which selectors are understood, and how the others are refused.
import { describe, expect, it } from 'vitest';
import { dimensions } from '../../src/core/attributes.ts';
import { Selector as SelectorMessage } from '../../src/gen/sidegate/v1/token_service.ts';
import {
  maxSelectorValueLength,
  type SelectorFields,
  selectorFieldsFromMessage,
  selectorFieldsToMessage,
  selectorFromMessage,
  selectorToMessage,
} from '../../src/wire/selector.ts';

const read = (fields: SelectorFields) => selectorFromMessage(selectorFieldsToMessage(fields));
const refusal = (reason: string) => expect.objectContaining({ code: 'INVALID_ARGUMENT', reason });
const singles: [keyof SelectorFields, string][] = [
  ['fingerprint', 'fingerprint'],
  ['tokenId', 'identity'],
  ['auditId', 'identity'],
  ['auditChainId', 'chain'],
  ['sessionId', 'session'],
  ['userId', 'user'],
  ['projectId', 'project'],
  ['domainId', 'domain'],
  ['roleId', 'role'],
  ['trustId', 'trust'],
  ['applicationCredentialId', 'application_credential'],
  ['clientId', 'client'],
  ['accessTokenId', 'access_token'],
  ['keyId', 'signing_key'],
  ['userDomainId', 'user_domain'],
  ['scopeDomainId', 'scope_domain'],
  ['projectDomainId', 'project_domain'],
  ['identityProviderId', 'idp'],
  ['groupId', 'group'],
];
const allowedPairs = new Set(['userId projectId', 'userId domainId', 'userId roleId', 'projectId roleId', 'auditChainId projectId']);
const pairsOfSingles = singles.flatMap(([a], i) => singles.slice(i + 1).map(([b]) => [a, b] as const));
const isAllowed = ([a, b]: readonly [string, string]) => allowedPairs.has(`${a} ${b}`) || allowedPairs.has(`${b} ${a}`);

describe('S3: a selector of the wire', () => {
  it.each(singles)('%s alone is a condition on %s', (field, dimension) => {
    expect(read({ issuer: 'central', [field]: 'v' })).toEqual({ kind: 'fit', issuer: 'central', conditions: [{ dimension, value: 'v' }] });
  });

  it('the fields name every dimension but the two that are kinds of their own and the one that only the sidecar can name', () => {
    const named = new Set([
      ...singles.map(([, dimension]) => dimension),
      'scope_kind',
      'everything',
      'issuer',
      'signed_content',
      'catalog',
    ]);
    expect(named).toEqual(new Set(dimensions));
  });

  it.each(pairsOfSingles.filter(isAllowed))('%s and %s may stand together', (a, b) => {
    expect(read({ [a]: 'v', [b]: 'w' })).toMatchObject({ kind: 'fit', conditions: [{}, {}] });
  });

  it('any other two may stand together too, but not the two names of an identity', () => {
    for (const [a, b] of pairsOfSingles) {
      const twice = [a, b].every((field) => field === 'tokenId' || field === 'auditId');
      const judged = (): unknown => read({ [a]: 'v', [b]: 'w' });
      if (twice) expect(judged).toThrow(refusal('SELECTOR_FORM'));
      else expect(judged(), `${a} ${b}`).toMatchObject({ kind: 'fit' });
    }
  });

  it('four conditions may stand together, five may not', () => {
    const four = { userId: 'u', projectId: 'p', roleId: 'r', trustId: 't' };
    expect(read(four)).toMatchObject({ kind: 'fit' });
    expect(() => read({ ...four, clientId: 'c' })).toThrow(refusal('SELECTOR_FORM'));
  });

  it('everything is said aloud, for all issuers or for one', () => {
    expect(read({ everything: true })).toEqual({ kind: 'everything' });
    expect(read({ everything: true, issuer: 'central' })).toEqual({ kind: 'everything', issuer: 'central' });
  });

  it('catalogs stand alone, or with an issuer: they are no tokens', () => {
    const conditions = [{ dimension: 'catalog', value: 'catalog' }];
    expect(read({ catalog: true })).toEqual({ kind: 'fit', conditions });
    expect(read({ catalog: true, issuer: 'central' })).toEqual({ kind: 'fit', issuer: 'central', conditions });
    expect(() => read({ catalog: true, userId: 'u' })).toThrow(refusal('SELECTOR_FORM'));
    expect(() => read({ catalog: true, everything: true })).toThrow(refusal('SELECTOR_EVERYTHING_WITH_MORE'));
    expect(selectorFieldsFromMessage(selectorToMessage(read({ catalog: true, issuer: 'central' })))).toEqual({
      catalog: true,
      issuer: 'central',
    });
  });

  it('an empty selector is refused, and so is an issuer alone', () => {
    expect(() => read({})).toThrow(refusal('SELECTOR_EMPTY'));
    expect(() => read({ issuer: 'central' })).toThrow(refusal('SELECTOR_EMPTY'));
  });

  it('everything with a condition is refused', () => {
    expect(() => read({ everything: true, userId: 'u' })).toThrow(refusal('SELECTOR_EVERYTHING_WITH_MORE'));
  });

  it('a field of a newer version is refused', () => {
    const bytes = new Uint8Array([...SelectorMessage.encode(selectorFieldsToMessage({ userId: 'u' })).finish(), 0xfa, 0x01, 1, 0x78]);
    expect(() => selectorFromMessage(SelectorMessage.decode(bytes))).toThrow(refusal('SELECTOR_UNKNOWN_FIELD'));
  });

  it('a kind of scope is one of four', () => {
    for (const scopeKind of ['unscoped', 'project', 'domain', 'system']) expect(read({ scopeKind })).toMatchObject({ kind: 'fit' });
    expect(() => read({ scopeKind: 'galaxy' })).toThrow(refusal('SELECTOR_VALUE'));
  });

  it('a value may be as long as the limit and no longer', () => {
    expect(read({ userId: 'x'.repeat(maxSelectorValueLength) })).toMatchObject({ kind: 'fit' });
    expect(() => read({ userId: 'x'.repeat(maxSelectorValueLength + 1) })).toThrow(refusal('SELECTOR_VALUE'));
    expect(() => read({ issuer: 'x'.repeat(maxSelectorValueLength + 1), userId: 'u' })).toThrow(refusal('SELECTOR_VALUE'));
  });

  it('reads back as the same selector, whichever of the ids an identity was', () => {
    for (const fields of [{ auditId: 'a' }, { issuer: 'i', userId: 'u', projectId: 'p' }, { everything: true }, { scopeKind: 'system' }]) {
      const selector = read(fields);
      expect(selectorFromMessage(selectorToMessage(selector))).toEqual(selector);
    }
    expect(selectorFieldsFromMessage(selectorToMessage(read({ auditId: 'a' })))).toEqual({ tokenId: 'a' });
  });

  it('its fields survive the wire', () => {
    const fields = { issuer: 'i', userId: 'u', everything: true };
    expect(selectorFieldsFromMessage(selectorFieldsToMessage(fields))).toEqual(fields);
  });
});
