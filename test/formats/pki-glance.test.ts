// What a PKI token tells at a glance: all, by certificates that are at hand, and without waiting for anybody.

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type Certified, cmsOf, createAuthority, pkiOf } from '../fakes/pki.ts';
import { bodyOf, createPkiStage } from './pki-stage.ts';

const tokenBy = (signer: Certified): string => pkiOf(cmsOf(bodyOf(), signer));

describe('a glance', () => {
  const authority = createAuthority();
  const signing = authority.issue();

  it('tells nothing before the certificates are there, and never reads them', async () => {
    const stage = createPkiStage([signing], authority);
    expect(await stage.reader.glance(tokenBy(signing))).toBeUndefined();
    expect(stage.signing.reads).toBe(0);
  });

  it('tells all that invalidations can name, hash ids included', async () => {
    const stage = createPkiStage([signing], authority);
    const raw = tokenBy(signing);
    await stage.read(raw);
    const reads = stage.signing.reads;
    const { token } = JSON.parse(bodyOf());

    const glance = await stage.reader.glance(raw);

    expect(glance).toMatchObject({ kind: 'part', identity: token.audit_ids[0], issuedAtMs: Date.UTC(2026, 10, 21, 18, 2, 5) });
    expect(glance?.kind === 'part' && glance.attributes).toEqual(
      expect.arrayContaining([
        { dimension: 'identity', value: token.audit_ids[0] },
        { dimension: 'identity', value: createHash('sha256').update(raw).digest('hex') },
        { dimension: 'identity', value: createHash('md5').update(raw).digest('hex') },
        { dimension: 'user', value: token.user.id },
        { dimension: 'signing_key', value: signing.keyId },
        { dimension: 'group', value: undefined },
      ]),
    );
    expect(stage.signing.reads).toBe(reads);
  });

  it('says what has ended, unless that is allowed', async () => {
    const stage = createPkiStage([signing], authority, Date.UTC(2026, 10, 21, 19, 2, 5));
    const raw = tokenBy(signing);
    await stage.read(raw);
    expect(await stage.reader.glance(raw)).toEqual({ kind: 'inactive', reason: 'EXPIRED' });
    expect(await stage.reader.glance(raw, { allowExpired: true })).toMatchObject({ kind: 'part' });
    const before = createPkiStage([signing], authority, Date.UTC(2026, 10, 21, 19, 2, 5) - 1);
    await before.read(raw);
    expect(await before.reader.glance(raw)).toMatchObject({ kind: 'part' });
  });

  it('calls garbage what it is, and nothing wrongly signed: the certificate may have come just now', async () => {
    const stage = createPkiStage([signing], authority);
    await stage.read(tokenBy(signing));
    const next = authority.issue();
    stage.signing.write(signing.pem + next.pem);
    expect(await stage.reader.glance(tokenBy(next))).toBeUndefined();
    expect((await stage.read(tokenBy(next))).kind).toBe('facts');
    expect(await stage.reader.glance('PKIZ_garbage')).toEqual({ kind: 'inactive', reason: 'MALFORMED' });
  });
});
