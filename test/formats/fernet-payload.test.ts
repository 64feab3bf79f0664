// Every version of the payload, in every encoding of ids that a Keystone has written.

import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openFernet, readFernet, readFernetKey } from '../../src/formats/fernet.ts';
import { readFernetPayload } from '../../src/formats/fernet-payload.ts';
import type { KeystoneClaims } from '../../src/formats/keystone-claims.ts';
import { capturedTokens, keyVectors, type VectorClaims } from '../fakes/keystone-vectors.ts';

const open = (token: string, key: string): Uint8Array => {
  const [envelope, opener] = [readFernet(token), readFernetKey(key)];
  if (!envelope || !opener) return expect.unreachable();
  return openFernet(envelope, [opener])?.payload ?? expect.unreachable('it is not opened');
};

/** As Keystone's own code reads it, in our words. */
function expected(said: VectorClaims): Omit<KeystoneClaims, 'issuedAtMs'> {
  const { userId, auditIds, projectId, domainId, groupIds, idpId } = said;
  const scope =
    projectId !== undefined
      ? ({ kind: 'project', id: projectId } as const)
      : domainId !== undefined
        ? ({ kind: 'domain', id: domainId } as const)
        : ({ kind: said.system ? 'system' : 'unscoped' } as const);
  return {
    userId,
    scope,
    auditIds,
    expiresAtMs: keyVectors.expiresAtMs,
    trustId: said.trustId,
    ...(idpId !== undefined && groupIds && { federation: { identityProviderId: idpId, groupIds } }),
    accessTokenId: said.accessTokenId,
    applicationCredentialId: said.applicationCredentialId,
  };
}

describe('the payload of a Fernet token', () => {
  it('has vectors of every version that Keystone has had', () => {
    expect([...new Set(keyVectors.fernet.map(({ version }) => version))].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it.each(keyVectors.fernet.map((vector) => [vector.version, vector.name, vector] as const))(
    'version %i, %s',
    (_version, _name, vector) => {
      const payload = open(vector.token, keyVectors.fernetKey);

      expect(Buffer.from(payload).toString('hex')).toBe(vector.payload);
      expect(readFernetPayload(payload)).toEqual(expected(vector.claims));
    },
  );

  it.each(Object.keys(capturedTokens))('of a real Keystone says what Keystone itself says of it: %s', (kind) => {
    const { token, body } = capturedTokens[kind] ?? expect.unreachable();
    const claims = readFernetPayload(open(token, keyVectors.captured.fernet['1'] ?? ''));

    const said = body.token as {
      user: { id: string };
      audit_ids: string[];
      expires_at: string;
      project?: { id: string };
      domain?: { id: string };
      system?: object;
      'OS-TRUST:trust'?: { id: string; trustee_user: { id: string } };
      application_credential?: { id: string };
    };
    const trust = said['OS-TRUST:trust'];
    expect(claims).toMatchObject({
      userId: trust?.trustee_user.id ?? said.user.id,
      auditIds: said.audit_ids,
      expiresAtMs: Date.parse(said.expires_at),
      scope: said.project
        ? { kind: 'project', id: said.project.id }
        : said.domain
          ? { kind: 'domain', id: said.domain.id }
          : { kind: said.system ? 'system' : 'unscoped' },
      trustId: trust?.id,
      applicationCredentialId: said.application_credential?.id,
    });
  });

  it('may have more behind what is known: a younger Keystone’s', () => {
    const { payload = '', claims } = keyVectors.fernet.find(({ name }) => name === 'project') ?? expect.unreachable();
    const longer = Buffer.concat([Buffer.from([0x97]), Buffer.from(payload, 'hex').subarray(1), encode('more')]);

    expect(readFernetPayload(longer)).toEqual(expected(claims));
  });

  const user = [true, Buffer.alloc(16, 1)] as const;
  const audits = [Buffer.alloc(16, 2)];
  it.each([
    ['of a version that is not known', [11, user, 2, 1_700_003_600, audits]],
    ['without its end', [0, user, 2, 'never', audits]],
    ['with an end that is no time', [0, user, 2, Number.NaN, audits]],
    ['with an end before time began', [0, user, 2, -1, audits]],
    ['without an audit id', [0, user, 2, 1_700_003_600, []]],
    ['with an audit id that is none', [0, user, 2, 1_700_003_600, [7]]],
    ['without a user', [0, [false, ''], 2, 1_700_003_600, audits]],
    ['with a user of the wrong length', [0, [true, Buffer.alloc(15)], 2, 1_700_003_600, audits]],
    ['with a user that is no text', [0, [false, Buffer.from([0xff, 0xfe])], 2, 1_700_003_600, audits]],
    ['with half of an id', [0, [true], 2, 1_700_003_600, audits]],
    ['with an id of another kind', [0, ['yes', Buffer.alloc(16)], 2, 1_700_003_600, audits]],
    ['of a project without one', [2, user, 2, [false, null], 1_700_003_600, audits]],
    ['of a trust without one', [3, user, 2, user, 1_700_003_600, audits, null]],
    ['of a federated user whose groups cannot be read', [4, user, 2, [[true, 7]], [false, 'corp'], 'mapped', 1_700_003_600, audits]],
    ['of a federated user without a provider', [4, user, 2, [], null, 'mapped', 1_700_003_600, audits]],
    ['that is too short', [0, user, 2]],
    ['that is no array', { 0: 'x' }],
    ['that is a number', 5],
    ['of nothing', []],
  ])('%s says nothing', (_, payload) => {
    expect(readFernetPayload(encode(payload))).toBeUndefined();
  });

  it('that breaks off anywhere, or is random, says nothing and never throws', () => {
    const whole = Buffer.from(keyVectors.fernet.find(({ name }) => name === 'federated, project')?.payload ?? '', 'hex');
    for (let length = 0; length < whole.length; length += 1) expect(readFernetPayload(whole.subarray(0, length))).toBeUndefined();
    expect(readFernetPayload(Buffer.concat([whole, Buffer.from([0])]))).toBeUndefined();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(readFernetPayload(bytes)).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    [4_095, true],
    [4_096, true],
    [4_097, false],
  ])('of a user in %i groups is read: %s', (count, isRead) => {
    const groups = Array.from({ length: count }, (_, n) => [false, Buffer.from(`g${n}`)]);
    const claims = readFernetPayload(encode([4, user, 2, groups, [false, Buffer.from('corp')], 'mapped', 1_700_003_600, audits]));
    expect(claims?.federation?.groupIds.length).toBe(isRead ? count : undefined);
  });

  it.each([
    [65_535, true],
    [65_536, true],
    [65_537, false],
  ])('with a text of %i bytes is read: %s', (length, isRead) => {
    const claims = readFernetPayload(encode([0, [false, Buffer.alloc(length, 'u')], 2, 1_700_003_600, audits]));
    expect(claims?.userId.length).toBe(isRead ? length : undefined);
  });

  it('that nests without end, or claims to be huge, says nothing', () => {
    expect(readFernetPayload(Buffer.alloc(20_000, 0x91))).toBeUndefined();
    // An array of 2^32 - 1, a text of 2^32 - 1, an extension.
    for (const bytes of ['ddffffffff', '95dbffffffff', '95c9ffffffff01'])
      expect(readFernetPayload(Buffer.from(bytes, 'hex'))).toBeUndefined();
  });
});
