// What is no PKI token, however much it looks like one: with bytes changed, left out, doubled, made up.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { derOf } from '../../src/formats/pki-spelling.ts';
import { cmsOf, createAuthority, der, pkiOf, pkizOf, pkizOfBytes } from '../fakes/pki.ts';
import { bodyOf, createPkiStage, reasonOf, vectors } from './pki-stage.ts';

const authority = createAuthority();
const signing = authority.issue();
const body = bodyOf();
const cms = cmsOf(body, signing);
const stage = createPkiStage([signing], authority);
const captured = createPkiStage(vectors.certificates.signing, vectors.certificates.ca);

const bytesOf = async (raw: string): Promise<Buffer> => Buffer.from((await derOf(raw)) ?? expect.unreachable());

/** With one byte changed. */
function changed(bytes: Uint8Array, at: number, by: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ by;
  return copy;
}

describe('one byte changed', () => {
  it.each([
    ['an RSA signature, as keystoneclient made it', captured, vectors.tokens.unscoped.PKI_sha256],
    ['an elliptic signature', stage, pkiOf(cms)],
  ])('anywhere in a CMS with %s makes it none of a token', async (_what, { read }, raw) => {
    const whole = await bytesOf(raw);
    const words = new Map<string, number>();
    for (let at = 0; at < whole.length; at += 1) {
      for (const by of [1 << (at % 8), 0x80 >> (at % 8)]) {
        const word = reasonOf(await read(pkiOf(changed(whole, at, by))));
        words.set(word, (words.get(word) ?? 0) + 1);
      }
    }
    expect([...words.keys()].sort()).toEqual(['BAD_SIGNATURE', 'MALFORMED']);
    // The content and the signature are most of it: there it is the signature that tells.
    expect(words.get('BAD_SIGNATURE')).toBeGreaterThan(whole.length);
    expect(reasonOf(await read(raw))).toBe('facts');
  });

  it('in the letters of a PKI or PKIZ token makes it none', async () => {
    for (const raw of [pkiOf(cms), pkizOf(cms)]) {
      for (let at = 5; at < raw.length; at += 7) {
        const other = raw[at] === 'A' ? 'B' : 'A';
        const tampered = raw.slice(0, at) + other + raw.slice(at + 1);
        // The last byte of a deflate stream may have bits that nobody reads: then it is the same token.
        const isSame = Buffer.from((await derOf(tampered)) ?? []).equals(cms);
        expect(isSame ? ['facts'] : ['MALFORMED', 'BAD_SIGNATURE']).toContain(reasonOf(await stage.read(tampered)));
      }
    }
  });
});

describe('random input', () => {
  const anyWord = expect.stringMatching(/^(MALFORMED|BAD_SIGNATURE)$/);

  it('is never a token, and never throws', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string().map((text) => `MII${text}`),
          fc.base64String().map((text) => `MII${text}`),
          fc.string().map((text) => `PKIZ_${text}`),
          fc.uint8Array({ maxLength: 300 }).map((bytes) => pkizOfBytes(bytes)),
          fc.uint8Array({ maxLength: 300 }).map((bytes) => pkiOf(der(0x30, Buffer.from(bytes)))),
          fc
            .uint8Array({ maxLength: 300 })
            .map((bytes) => pkizOf(der(0x30, Buffer.from('06092a864886f70d010702', 'hex'), der(0xa0, bytes)))),
        ),
        async (raw) => {
          expect(reasonOf(await stage.read(raw))).toEqual(anyWord);
          expect((await stage.reader.glance(raw))?.kind).not.toBe('part');
        },
      ),
      { numRuns: 600 },
    );
  });

  it('with several bytes of a good CMS replaced, left out or doubled is never a token', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: cms.length - 1 }),
        fc.nat({ max: 40 }),
        fc.uint8Array({ maxLength: 40 }),
        async (at, without, instead) => {
          const other = Buffer.concat([cms.subarray(0, at), instead, cms.subarray(at + without)]);
          fc.pre(!other.equals(cms));
          expect(reasonOf(await stage.read(pkizOf(other)))).toEqual(anyWord);
        },
      ),
      { numRuns: 600 },
    );
  });

  it('around anything that somebody else signed is never a token', async () => {
    const stranger = createAuthority();
    await fc.assert(
      fc.asyncProperty(fc.string(), fc.boolean(), async (content, claims) => {
        const raw = pkizOf(cmsOf(content, stranger, claims ? { namedAs: signing.namedAs } : {}));
        expect(reasonOf(await stage.read(raw))).toBe('BAD_SIGNATURE');
      }),
      { numRuns: 100 },
    );
  });
});
