// The record of one token in memory: its age, its attributes, its size.

import { describe, expect, it } from 'vitest';
import { createTagger, numberOf } from '../../src/core/tag.ts';
import { type KnownParts, knownOf, namesOf, sizeOf } from '../../src/service/known.ts';
import { tokenCodec } from '../../src/wire/token-codec.ts';
import { createFakeIssuer, factsOf } from '../fakes/issuer.ts';

const tagger = createTagger([
  { id: 'new', secret: Buffer.alloc(32, 1) },
  { id: 'old', secret: Buffer.alloc(32, 2) },
]);
const digest = 'd'.repeat(32);
const create = (parts: Partial<KnownParts> = {}) =>
  knownOf(
    {
      issuer: createFakeIssuer().issuer,
      names: namesOf(digest, 'opaque', tagger),
      facts: factsOf('central', { identity: 'audit-1', token: { user: { id: 'alice' }, claimsJson: '{"sub":"alice"}' } }),
      provenance: 'authority',
      began: { wallMs: 1_000_000, monotonicMs: 5000, revision: 3 },
      timeMs: 300_000,
      refreshAhead: 1,
      ...parts,
    },
    tagger,
    tokenCodec,
  );

describe('knownOf', () => {
  it('S1 facts age from the moment when the fetch began, by the monotonic clock', () => {
    expect(create().freshUntilMs).toBe(305_000);
    expect(create({ timeMs: Infinity }).freshUntilMs).toBe(Infinity);
  });

  it('what was encoded decodes to the same token, with the claims kept beside it', () => {
    const known = create();

    expect(known.token()).toMatchObject({ issuer: 'central', user: { id: 'alice' } });
    expect(known.token().claimsJson).toBeUndefined();
    expect(Buffer.from(known.claims).toString()).toBe('{"sub":"alice"}');
  });

  it('S14 its public name is made with the newest key, and it is asked for under every accepted one', () => {
    const known = create();
    const [newest = '', old = ''] = tagger.fingerprints(digest);
    const tags = [...known.attributes.tags];
    const lowOf = (fingerprint: string): number => tagger.tag('fingerprint', '', fingerprint).low;

    expect(known.fingerprint).toBe(newest);
    expect(tags).toContain(lowOf(newest));
    expect(tags).toContain(lowOf(old));
  });

  it('S2 without an identity of its own a hash of the digest stands in, and none is told to whoever would write it down', () => {
    const nameless = create({ facts: factsOf('central') });
    const standIn = tagger.tag('identity', 'central', Buffer.from(digest, 'latin1').toString('base64url'));

    expect(nameless.identity).toBeUndefined();
    expect(create().identity).toBe('audit-1');
    // Neither the digest itself nor nothing: there is one identity among its tags, and it is another.
    const tags = nameless.attributes.tags;
    expect([...tags.filter((_, at) => at % 2 === 0)]).not.toContain(standIn.low);
    expect([...nameless.attributes.dimensions].filter((one) => one === numberOf('identity'))).toHaveLength(1);
  });

  it('its size counts the bytes of token, claims and tags', () => {
    const small = create();
    const large = create({ facts: factsOf('central', { token: { claimsJson: 'x'.repeat(10_000), scopes: ['y'.repeat(5000)] } }) });

    expect(sizeOf(small)).toBeGreaterThan(700);
    expect(sizeOf(large)).toBeGreaterThan(15_700);
  });
});
