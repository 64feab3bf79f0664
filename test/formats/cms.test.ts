// The one form of CMS that Keystone's tokens have, and all the others.

import { describe, expect, it } from 'vitest';
import { readCms } from '../../src/formats/cms.ts';
import { cmsOf, createAuthority, der, pkiOf, pkizOf, pkizOfBytes, signerInfo } from '../fakes/pki.ts';
import { bodyOf, createPkiStage, wordOf } from './pki-stage.ts';

const authority = createAuthority();
const signing = authority.issue();
const body = bodyOf();
const cms = cmsOf(body, signing);
const stage = createPkiStage([signing], authority);

describe('another CMS around what was rightly signed', () => {
  const attribute = der(0x30, Buffer.from('06092a864886f70d010903', 'hex'), der(0x31, Buffer.from('06092a864886f70d010701', 'hex')));
  const sequence = Buffer.from('3000', 'hex');

  it.each<[string, Uint8Array]>([
    ['with its certificate in it', cmsOf(body, signing, { beside: [der(0xa0, signing.der)] })],
    ['with another certificate in it', cmsOf(body, signing, { beside: [der(0xa0, authority.issue().der)] })],
    ['with an empty set of certificates', cmsOf(body, signing, { beside: [der(0xa0)] })],
    ['with an empty list of revoked ones', cmsOf(body, signing, { beside: [der(0xa1)] })],
    ['with an attribute that is not signed', cmsOf(body, signing, { unsignedAttributes: der(0xa1, attribute) })],
    ['with no attributes that are not signed', cmsOf(body, signing, { unsignedAttributes: der(0xa1) })],
    ['with signed attributes', cmsOf(body, signing, { signedAttributes: der(0xa0, attribute) })],
    ['with a second signer', cmsOf(body, signing, { moreSigners: [signerInfo(Buffer.from(body), signing)] })],
    ['with a second signer who is nobody', cmsOf(body, signing, { moreSigners: [signerInfo(Buffer.from(body), createAuthority())] })],
    ['with another signer before it', cmsOf(body, createAuthority(), { moreSigners: [signerInfo(Buffer.from(body), signing)] })],
    ['of version 3', cmsOf(body, signing, { version: 3 })],
    ['of another type of content', cmsOf(body, signing, { contentType: Buffer.from('060b2a864886f70d0109100104', 'hex') })],
    ['with a rest', Buffer.concat([cms, Buffer.from([0])])],
    ['twice', Buffer.concat([cms, cms])],
    ['in a sequence', der(0x30, cms)],
    ['with a length in more octets than it needs', Buffer.concat([Buffer.from([0x30, 0x83, 0]), cms.subarray(2)])],
    ['of no definite length', Buffer.concat([Buffer.from([0x30, 0x80]), cms.subarray(4), Buffer.from([0, 0])])],
    ['without anything', sequence],
    ['of a type alone', der(0x30, Buffer.from('06092a864886f70d010702', 'hex'))],
  ])('%s is malformed', async (_what, bytes) => {
    expect(wordOf(await stage.read(pkizOf(bytes)))).toBe('MALFORMED');
    expect(wordOf(await stage.read(pkiOf(bytes)))).toBe('MALFORMED');
  });

  it('with a content in pieces is malformed', async () => {
    const text = Buffer.from(body);
    const pieces = der(0x24, der(0x04, text.subarray(0, 100)), der(0x04, text.subarray(100)));
    const whole = der(0x04, text);
    const at = cms.indexOf(whole);
    expect(at).toBeGreaterThan(0);
    // The lengths around it are made right again by hand: DER within DER.
    const [before, after] = [cms.subarray(0, at), cms.subarray(at + whole.length)];
    const grown = pieces.length - whole.length;
    const fixed = Buffer.from(before);
    for (const head of [2, 4 + 11 + 2]) fixed.writeUInt16BE(fixed.readUInt16BE(head) + grown, head);
    expect(await readCms(Buffer.concat([fixed, pieces, after]))).toBeUndefined();
  });

  it('with a time that is none where a name should be is malformed, and throws nothing', async () => {
    const time = der(0x30, der(0x17, Buffer.from('not a time')), der(0x18, Buffer.from([0, 1])));
    expect(wordOf(await stage.read(pkizOf(cmsOf(body, signing, { namedAs: time }))))).toBe('MALFORMED');
  });
});

describe('a CMS of more than it can have', () => {
  it('of 128 elements is read, and of one more is not', async () => {
    // 23 of them are the CMS's own.
    const named = (names: number): Buffer => der(0x30, der(0x30, Buffer.from('0500'.repeat(names), 'hex')), Buffer.from('020101', 'hex'));
    const read = [104, 105, 106].map((names) => readCms(cmsOf(body, signing, { namedAs: named(names) })));
    expect((await Promise.all(read)).map((found) => found !== undefined)).toEqual([true, true, false]);
  });

  it('whose elements are 16 deep in its first one is read, and one deeper is not', async () => {
    // The name of a signer is five deep.
    const nested = (depth: number): Buffer =>
      Array.from({ length: depth }).reduce<Buffer>((inner) => der(0x30, inner), Buffer.from('0500', 'hex'));
    const read = [10, 11, 12].map((depth) => readCms(cmsOf(body, signing, { namedAs: nested(depth) })));
    expect((await Promise.all(read)).map((found) => found !== undefined)).toEqual([true, true, false]);
  });

  it('elements without end are not made: a CMS of 20,000 of them is malformed at once', async () => {
    const many = der(0x30, Buffer.from('06092a864886f70d010702', 'hex'), der(0xa0, der(0x30, Buffer.from('0500'.repeat(20_000), 'hex'))));
    const deep = Array.from({ length: 10_000 }).reduce<Buffer>((inner) => der(0x30, inner), Buffer.from('0500', 'hex'));
    for (const bytes of [many, deep]) expect(wordOf(await stage.read(pkizOfBytes(bytes)))).toBe('MALFORMED');
  });

  it('a content that is itself ASN.1 is not looked into', async () => {
    const content = der(0x30, Buffer.from('0500'.repeat(20_000), 'hex'));
    expect((await readCms(cmsOf(content, signing)))?.content).toEqual(new Uint8Array(content));
  });
});
