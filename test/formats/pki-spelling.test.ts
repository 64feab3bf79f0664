// The one spelling of PKI, those of PKIZ, and what is unpacked of it.

import { randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { derOf } from '../../src/formats/pki-spelling.ts';
import { cmsOf, createAuthority, padded, pemOf, pkiOf, pkizOf, pkizOfBytes } from '../fakes/pki.ts';
import { bodyOf, createPkiStage, vectors, wordOf } from './pki-stage.ts';

const authority = createAuthority();
const signing = authority.issue();
const body = bodyOf();
const cms = cmsOf(body, signing);
const stage = createPkiStage([signing], authority);
const captured = createPkiStage(vectors.certificates.signing, vectors.certificates.ca);

describe('another spelling', () => {
  const pki = pkiOf(cms);
  const packed = deflateSync(Buffer.from(pemOf(cms)));
  const pkiz = (bytes: Uint8Array): string => `PKIZ_${padded(bytes)}`;

  it('of the tokens of these tests has all letters that matter', () => {
    expect(vectors.tokens.project.PKI_sha256).toMatch(/[-+]/);
    expect(pkiz(packed)).toBe(pkizOf(cms));
  });

  it.each([
    ['/ where - should be', vectors.tokens.project.PKI_sha256.replace('-', '/')],
    ['_ where - should be', vectors.tokens.project.PKI_sha256.replace('-', '_')],
    ['line ends', vectors.tokens.project.PKI_sha256.replace(/^(.{64})/, '$1\n')],
    ['padding that is too much', `${vectors.tokens.project.PKI_sha256.replace(/=*$/, '')}====`],
    ['a dot in it', vectors.tokens.project.PKI_sha256.replace(/^(.{64})/, '$1.')],
  ])('of PKI, %s, is malformed', async (_what, raw) => {
    expect(raw).not.toBe(vectors.tokens.project.PKI_sha256);
    expect(wordOf(await captured.read(vectors.tokens.project.PKI_sha256))).toBe('facts');
    expect(wordOf(await captured.read(raw))).toBe('MALFORMED');
  });

  it.each([
    ['one PEM in another', pkizOfBytes(Buffer.from(pemOf(Buffer.from(pemOf(cms)))))],
    ['of PEM for something else', pkizOfBytes(Buffer.from(pemOf(cms).replaceAll('CMS', 'PKCS7')))],
    ['of PEM with text before it', pkizOfBytes(Buffer.from(`hello\n${pemOf(cms)}`))],
    ['of PEM with text behind it', pkizOfBytes(Buffer.from(`${pemOf(cms)}hello`))],
    ['of PEM with spaces in it', pkizOfBytes(Buffer.from(pemOf(cms).replace('\nMII', '\n MII')))],
    ['with bytes behind the stream', pkiz(Buffer.concat([packed, Buffer.from([0])]))],
    ['with two streams', pkiz(Buffer.concat([packed, packed]))],
    ['with a wrong checksum', pkiz(Buffer.concat([packed.subarray(0, -1), Buffer.from([(packed.at(-1) ?? 0) ^ 1])]))],
    ['with nothing packed', pkizOfBytes(Buffer.alloc(0))],
    ['not packed', pkiz(Buffer.from(pemOf(cms)))],
    ['with the letters of plain base64', `PKIZ_${packed.toString('base64')}`],
    ['with letters behind it', `${pkiz(packed)}AAAA`],
    ['in small letters', pkiz(packed).replace('PKIZ_', 'pkiz_')],
    ['PKI behind its prefix', `PKIZ_${pki}`],
  ])('of PKIZ, %s, is malformed', async (_what, raw) => {
    expect(wordOf(await stage.read(raw))).toBe('MALFORMED');
  });

  /** The first of ever longer tokens of which it is so: an elliptic signature has another length each time. */
  function tokenThat(isSo: (raw: string) => boolean, spell: (bytes: Uint8Array) => string): string {
    for (let spaces = 0; ; spaces += 1) {
      const raw = spell(cmsOf(body + ' '.repeat(spaces), signing));
      if (isSo(raw)) return raw;
    }
  }

  it('of PKIZ without its padding is malformed', async () => {
    const raw = tokenThat((one) => one.endsWith('='), pkizOf);
    expect([wordOf(await stage.read(raw)), wordOf(await stage.read(raw.replace(/=+$/, '')))]).toEqual(['facts', 'MALFORMED']);
  });

  it('of spare bits is malformed', async () => {
    const raw = tokenThat((one) => one.endsWith('='), pkiOf);
    const last = raw.replace(/=+$/, '').length - 1;
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-';
    const other = alphabet[alphabet.indexOf(raw[last] ?? '') + 1];
    const respelt = raw.slice(0, last) + other + raw.slice(last + 1);

    expect(Buffer.from(respelt.replaceAll('-', '/'), 'base64')).toEqual(Buffer.from(raw.replaceAll('-', '/'), 'base64'));
    expect([wordOf(await stage.read(raw)), wordOf(await stage.read(respelt))]).toEqual(['facts', 'MALFORMED']);
  });

  it('of PKIZ by another packer, or of the DER, is the same token', async () => {
    for (const raw of [pkizOf(cms, 1), pkizOf(cms, 9), pkizOfBytes(cms)]) expect(wordOf(await stage.read(raw))).toBe('facts');
  });
});

describe('a token cut short', () => {
  it.each([
    ['PKI', pkiOf(cms)],
    ['PKIZ', pkizOf(cms)],
  ])('as %s is malformed, wherever it is cut', async (_kind, raw) => {
    for (let length = 0; length < raw.length; length += 1) expect(wordOf(await stage.read(raw.slice(0, length)))).toBe('MALFORMED');
  });
});

describe('what grows when it is unpacked', () => {
  const kib = 1024;
  const zeros = (size: number, random = 1): Buffer =>
    Buffer.concat([Buffer.from([0x30]), randomBytes(random - 1), Buffer.alloc(size - random)]);
  const sizeOf = async (bytes: Uint8Array): Promise<number | undefined> => (await derOf(pkizOfBytes(bytes)))?.length;

  it('may grow to 64 KiB however small it is, and no more', async () => {
    expect(await Promise.all([-1, 0, 1].map((more) => sizeOf(zeros(64 * kib + more))))).toEqual([64 * kib - 1, 64 * kib, undefined]);
  });

  it('may grow to 32 times its size, and no more', async () => {
    const random = randomBytes(10_000);
    const whole = (size: number): Buffer => Buffer.concat([Buffer.from([0x30]), random, Buffer.alloc(size - 1 - random.length)]);
    const packedSize = (size: number): number => deflateSync(whole(size), { level: 6 }).length;
    let size = 32 * packedSize(320_000);
    while (size <= 32 * packedSize(size)) size += 1;
    while (size > 32 * packedSize(size)) size -= 1;

    expect(await Promise.all([-1, 0, 1].map((more) => sizeOf(whole(size + more))))).toEqual([size - 1, size, undefined]);
  });

  it('may grow to 4 MiB, and no more', async () => {
    const random = 150 * kib;
    expect(await Promise.all([-1, 0, 1].map((more) => sizeOf(zeros(4096 * kib + more, random))))).toEqual([
      4096 * kib - 1,
      4096 * kib,
      undefined,
    ]);
  });

  it('three hundred of them at once take the memory of a few', async () => {
    const raw = pkizOfBytes(zeros(1_390_000, 44_000));
    expect(raw.length).toBeLessThan(64 * kib);
    const taken = (): number => process.memoryUsage().arrayBuffers;
    const before = taken();
    let most = 0;
    const looking = setInterval(() => {
      most = Math.max(most, taken() - before);
    }, 1);
    const words = await Promise.all(Array.from({ length: 300 }, async () => wordOf(await stage.read(raw))));
    clearInterval(looking);

    expect([...new Set(words)]).toEqual(['MALFORMED']);
    expect(most).toBeLessThan(150 * 1024 * kib);
  }, 30_000);

  it('a bomb of a gigabyte in a token of 64 KiB takes no memory for it', async () => {
    // As many zeros as deflate packs into 48 KiB.
    const bomb = deflateSync(Buffer.alloc(48 * 1024 * 1024));
    const before = process.memoryUsage();
    expect(wordOf(await stage.read(`PKIZ_${padded(bomb)}`))).toBe('MALFORMED');
    const after = process.memoryUsage();
    expect(after.external + after.arrayBuffers - before.external - before.arrayBuffers).toBeLessThan(16 * 1024 * 1024);
  });
});
