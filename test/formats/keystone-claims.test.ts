// S2 What a glance says of a token is what Keystone's answer will say of it, as far as it goes.

import { describe, expect, it } from 'vitest';
import { attributesOf } from '../../src/core/attributes.ts';
import { openFernet, readFernet, readFernetKey } from '../../src/formats/fernet.ts';
import { readFernetPayload } from '../../src/formats/fernet-payload.ts';
import { type KeystoneClaims, partOf } from '../../src/formats/keystone-claims.ts';
import { readKeystoneToken } from '../../src/keystone/token-body.ts';
import { capturedTokens, keyVectors } from '../fakes/keystone-vectors.ts';

const key = readFernetKey(keyVectors.captured.fernet['1'] ?? '') ?? expect.unreachable();
const partOfToken = (token: string) => {
  const envelope = readFernet(token) ?? expect.unreachable();
  const claims = readFernetPayload(openFernet(envelope, [key])?.payload ?? new Uint8Array()) ?? expect.unreachable();
  return partOf({ ...claims, issuedAtMs: envelope.madeAtMs }, 'central');
};
const factsOfBody = (body: unknown) => {
  const reading = readKeystoneToken(Buffer.from(JSON.stringify(body)), 'central');
  return reading.kind === 'facts' ? reading.facts : expect.unreachable();
};

describe('S2 a glance at a token of a real Keystone', () => {
  it.each(Object.keys(capturedTokens))('%s: what it tells, the facts tell; what they tell beyond, it knows that it does not', (kind) => {
    const { token, body } = capturedTokens[kind] ?? expect.unreachable();
    const part = partOfToken(token);
    const facts = factsOfBody(body);
    const told = attributesOf(facts, facts.identity ?? '');
    const isTold = ({ dimension, value }: (typeof told)[number]) => told.some((one) => one.dimension === dimension && one.value === value);
    const isUnknown = (dimension: string) => part.attributes.some((one) => one.dimension === dimension && one.value === undefined);
    const known = part.attributes.filter(({ value }) => value !== undefined);
    const beyond = told.filter((one) => !known.some(({ dimension, value }) => dimension === one.dimension && value === one.value));

    expect(known.filter((one) => !isTold(one))).toEqual([]);
    expect(beyond.filter(({ dimension }) => !isUnknown(dimension))).toEqual([]);
    expect([part.identity, part.issuedAtMs, part.expiresAtMs]).toEqual([facts.identity, facts.token.issuedAtMs, facts.token.expiresAtMs]);
    expect(known.length).toBeGreaterThan(5);
  });

  it('of a trust tells who took it, and knows that somebody gave it', () => {
    const { token, body } = capturedTokens['trust_impersonating'] ?? expect.unreachable();
    const trust = (body.token as { 'OS-TRUST:trust': { id: string; trustee_user: { id: string } } })['OS-TRUST:trust'];
    const { attributes } = partOfToken(token);

    expect(attributes).toContainEqual({ dimension: 'user', value: trust.trustee_user.id });
    expect(attributes).toContainEqual({ dimension: 'user', value: undefined });
    expect(attributes).toContainEqual({ dimension: 'trust', value: trust.id });
  });
});

describe('S2 a glance', () => {
  const plain: KeystoneClaims = {
    userId: 'alice',
    scope: { kind: 'unscoped' },
    auditIds: ['own', 'root'],
    issuedAtMs: 1_000,
    expiresAtMs: 2_000,
  };
  const dimensionsOf = (claims: KeystoneClaims, isKnown: boolean) =>
    partOf(claims, 'central')
      .attributes.filter(({ value }) => (value !== undefined) === isKnown)
      .map(({ dimension }) => dimension);

  it('names the chain by its root, and the key where it has a name', () => {
    expect(partOf(plain, 'central', 'k1').attributes).toEqual(
      expect.arrayContaining([
        { dimension: 'identity', value: 'own' },
        { dimension: 'chain', value: 'root' },
        { dimension: 'signing_key', value: 'k1' },
        { dimension: 'issuer', value: 'central' },
        { dimension: 'everything', value: 'everything' },
      ]),
    );
    expect(dimensionsOf(plain, true)).not.toContain('signing_key');
  });

  it('of an unscoped token knows that it has no role and no project', () => {
    expect(dimensionsOf(plain, false)).toEqual(['user_domain', 'domain', 'group']);
  });

  it('of a project does not know its domain nor its roles', () => {
    expect(dimensionsOf({ ...plain, scope: { kind: 'project', id: 'p' } }, false)).toEqual([
      'user_domain',
      'domain',
      'project_domain',
      'role',
      'group',
    ]);
  });

  it('of OAuth1 does not know the consumer; of a federated user knows all groups', () => {
    expect(dimensionsOf({ ...plain, accessTokenId: 'a' }, false)).toContain('client');
    const federated = { ...plain, federation: { identityProviderId: 'corp', groupIds: ['g'] } };
    expect(dimensionsOf(federated, false)).not.toContain('group');
    expect(dimensionsOf(federated, true)).toEqual(expect.arrayContaining(['idp', 'group']));
  });
});
