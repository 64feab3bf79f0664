// Whose certificate signs tokens.

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type Certified, cmsOf, createAuthority, pkiOf } from '../fakes/pki.ts';
import { bodyOf, captureMs, createPkiStage, reasonOf } from './pki-stage.ts';

const hourMs = 3_600_000;
const tokenBy = (signer: Certified): string => pkiOf(cmsOf(bodyOf(), signer));
const idOf = (one: Certified): string => `SHA-256 ${createHash('sha256').update(one.der).digest('hex').slice(0, 16)}…`;

describe('a signing certificate', () => {
  it('of the same name as its CA, as `keystone-manage pki_setup` makes both, signs', async () => {
    const authority = createAuthority({ common: 'www.example.com', key: 'rsa' });
    const signing = authority.issue({ common: 'www.example.com', key: 'rsa', serial: 1 });
    expect(reasonOf(await createPkiStage([signing], authority).read(tokenBy(signing)))).toBe('facts');
  });

  it('that is its own CA signs', async () => {
    const own = createAuthority();
    expect(reasonOf(await createPkiStage([own], own).read(tokenBy(own)))).toBe('facts');
  });

  it('signs under each of several CAs, and beside others', async () => {
    const authorities = [createAuthority({ common: 'first' }), createAuthority({ common: 'second' })];
    const signers = authorities.map((authority) => authority.issue());
    const stage = createPkiStage(signers, authorities.map((one) => one.pem).join('text between them\n'));
    for (const signer of signers) expect(reasonOf(await stage.read(tokenBy(signer)))).toBe('facts');
    expect(stage.reader.health()).toMatchObject({ reachable: true, keyCount: 2, keySetDigest: expect.stringMatching(/^[0-9a-f]{6}$/) });
    expect(stage.reader.health()).not.toHaveProperty('problem');
  });

  it('leads to its CA by another that stands beside it', async () => {
    const authority = createAuthority();
    const between = authority.issue({ common: 'between', isCa: true });
    const signing = between.issue();
    expect(reasonOf(await createPkiStage([signing, between], authority).read(tokenBy(signing)))).toBe('facts');
    expect(reasonOf(await createPkiStage([signing], authority).read(tokenBy(signing)))).toBe('BAD_SIGNATURE');
  });

  it.each<[string, (authority: Certified) => { signing: Certified; ca: Certified }]>([
    ['of another CA', (authority) => ({ signing: createAuthority({ common: 'other' }).issue(), ca: authority })],
    ['of another CA of the same name', (authority) => ({ signing: createAuthority().issue(), ca: authority })],
    ['that is nobody’s', (authority) => ({ signing: createAuthority({ isCa: false }), ca: authority })],
    ['that has expired', (authority) => ({ signing: authority.issue({ notAfterMs: captureMs - 1000 }), ca: authority })],
    ['that is not valid yet', (authority) => ({ signing: authority.issue({ notBeforeMs: captureMs + 1000 }), ca: authority })],
    [
      'of a CA that does not say that it is one',
      () => {
        const ca = createAuthority({ isCa: false });
        return { signing: ca.issue(), ca };
      },
    ],
    [
      'of a CA that has expired',
      () => {
        const ca = createAuthority({ notAfterMs: captureMs - 1000 });
        return { signing: ca.issue(), ca };
      },
    ],
    ['by way of one that may not vouch', (authority) => ({ signing: authority.issue({ isCa: false }).issue(), ca: authority })],
    ['with an RSA key of 1,024 bits', (authority) => ({ signing: authority.issue({ key: 'rsa-1024' }), ca: authority })],
    ['with a key on another curve', (authority) => ({ signing: authority.issue({ key: 'secp256k1' }), ca: authority })],
  ])('%s signs nothing, and health says so', async (_what, make) => {
    const { signing, ca } = make(createAuthority());
    const stage = createPkiStage([signing], ca);

    expect(reasonOf(await stage.read(tokenBy(signing)))).toBe('BAD_SIGNATURE');
    expect(stage.reader.health()).toMatchObject({ reachable: true, keyCount: 0, problem: expect.stringContaining(idOf(signing)) });
    expect(stage.telemetry.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
  });

  it('with a key for other things (Ed25519) stands beside one that signs', async () => {
    const authority = createAuthority();
    const [ed25519, signing] = [authority.issue({ key: 'ed25519' }), authority.issue()];
    const stage = createPkiStage([ed25519, signing], authority);
    expect(reasonOf(await stage.read(tokenBy(signing)))).toBe('facts');
    expect(stage.reader.health().problem).toContain(`${idOf(ed25519)} has a key that is not used for tokens`);
  });

  it('has the name of another one with another key, and only its own tokens are good', async () => {
    const authority = createAuthority();
    const [one, other] = [authority.issue({ serial: 7 }), authority.issue({ serial: 7 })];
    expect(one.namedAs).toEqual(other.namedAs);
    expect(reasonOf(await createPkiStage([one], authority).read(tokenBy(other)))).toBe('BAD_SIGNATURE');
    const both = createPkiStage([one, other], authority);
    for (const signer of [one, other]) expect(reasonOf(await both.read(tokenBy(signer)))).toBe('facts');
  });

  it('is judged now, not when the token was issued', async () => {
    const authority = createAuthority();
    const signing = authority.issue({ notAfterMs: captureMs + hourMs });
    const stage = createPkiStage([signing], authority);
    expect(reasonOf(await stage.read(tokenBy(signing)))).toBe('facts');
    await stage.clock.advance(hourMs);
    expect(reasonOf(await stage.read(tokenBy(signing)))).toBe('facts');
    await stage.clock.advance(1);
    expect(reasonOf(await stage.read(tokenBy(signing)))).toBe('BAD_SIGNATURE');
  });
});
