// Who signs PKI tokens, and who calls with a certificate: certificates of any times, names and kinds, and CMS as Keystone's openssl writes
// them, and as nobody does. DER by hand: what is tested must not be what writes it.

import { createPublicKey, generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto';
import { deflateSync } from 'node:zlib';

/** One DER element. `content` may be of several parts. */
export function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  const size = body.length.toString(16);
  const octets = Buffer.from(size.length % 2 === 0 ? size : `0${size}`, 'hex');
  const head = body.length < 128 ? [tag, body.length] : [tag, 0x80 | octets.length, ...octets];
  return Buffer.concat([Buffer.from(head), body]);
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
/** Not negative, in the fewest octets. */
const integer = (value: number): Buffer => {
  const digits = value.toString(16);
  const octets = hex(digits.length % 2 === 0 ? digits : `0${digits}`);
  return der(0x02, ...(octets[0] !== undefined && octets[0] >= 0x80 ? [Buffer.from([0])] : []), octets);
};
const name = (common: string): Buffer => der(0x30, der(0x31, der(0x30, hex('06 03 55 04 03'), der(0x0c, Buffer.from(common)))));
const time = (ms: number): Buffer => der(0x18, Buffer.from(`${new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, '')}`));

/** Algorithm identifiers. */
export const algorithms = {
  sha1: hex('30 07 06 05 2b0e03021a'),
  sha256: hex('30 0b 06 09 608648016503040201'),
  sha384: hex('30 0b 06 09 608648016503040202'),
  sha512: hex('30 0b 06 09 608648016503040203'),
  sha256WithNull: hex('30 0d 06 09 608648016503040201 05 00'),
  rsa: hex('30 0d 06 09 2a864886f70d010101 05 00'),
  sha256WithRsa: hex('30 0d 06 09 2a864886f70d01010b 05 00'),
  ecdsaWithSha1: hex('30 09 06 07 2a8648ce3d0401'),
  ecdsaWithSha256: hex('30 0a 06 08 2a8648ce3d040302'),
  ecdsaWithSha384: hex('30 0a 06 08 2a8648ce3d040303'),
  ecdsaWithSha512: hex('30 0a 06 08 2a8648ce3d040304'),
} as const;
export type Digest = 'sha1' | 'sha256' | 'sha384' | 'sha512';

/** What a certificate is of. */
export interface CertificateOptions {
  readonly common?: string;
  /** `P-256` where nothing is said; `rsa` has 2,048 bits. */
  readonly key?: KeyObject | 'rsa' | 'rsa-1024' | 'P-256' | 'P-384' | 'P-521' | 'secp256k1' | 'ed25519';
  /** Around the captured tokens' times where nothing is said. */
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly isCa?: boolean;
  readonly serial?: number;
  /** Subject alternative names, in this order. */
  readonly names?: readonly AlternativeName[];
  /** Of its key; anything where nothing is said. */
  readonly usage?: 'client' | 'server';
}

/** One subject alternative name. `ip`: four octets with dots. */
export type AlternativeName = readonly [kind: 'uri' | 'dns' | 'ip' | 'email', value: string];

/** Somebody with a certificate. */
export interface Certified {
  readonly privateKey: KeyObject;
  /** SHA-256 of the public key, hex. */
  readonly keyId: string;
  readonly der: Buffer;
  readonly pem: string;
  /** Issuer and serial number. */
  readonly namedAs: Buffer;
  /** A certificate that this one signs. */
  issue(options?: CertificateOptions): Certified;
}

let serials = 1_000;

/** A certificate that signs itself: a CA, where nothing else is said. */
export function createAuthority(options: CertificateOptions = {}): Certified {
  return certify({ common: 'test CA', isCa: true, ...options });
}

function certify(options: CertificateOptions, by?: { readonly common: string; readonly privateKey: KeyObject }): Certified {
  const { common = 'test signing', isCa = false, notBeforeMs = Date.UTC(2026, 0, 1), notAfterMs = Date.UTC(2036, 0, 1) } = options;
  serials += 1;
  const privateKey = keyOf(options.key ?? 'P-256');
  const spki = publicDer(privateKey);
  const issuer = name(by?.common ?? common);
  const serial = integer(options.serial ?? serials);
  const signer = by?.privateKey ?? privateKey;
  const algorithm =
    signer.asymmetricKeyType === 'rsa'
      ? algorithms.sha256WithRsa
      : signer.asymmetricKeyType === 'ec'
        ? algorithms.ecdsaWithSha256
        : hex('30 05 06 03 2b6570');
  const constraints = der(0x30, hex('06 03 55 1d 13'), hex('01 01 ff'), der(0x04, der(0x30, ...(isCa ? [hex('01 01 ff')] : []))));
  const names = options.names ? [extension('55 1d 11', der(0x30, ...options.names.map(generalName)))] : [];
  const usage = options.usage ? [extension('55 1d 25', der(0x30, der(0x06, hex(`2b06010505070 3 0${usages[options.usage]}`))))] : [];
  const tbs = der(
    0x30,
    der(0xa0, integer(2)),
    serial,
    algorithm,
    issuer,
    der(0x30, time(notBeforeMs), time(notAfterMs)),
    name(common),
    spki,
    der(0xa3, der(0x30, constraints, ...names, ...usage)),
  );
  const signature = sign(signer.asymmetricKeyType === 'ed25519' ? null : 'sha256', tbs, signer);
  const bytes = der(0x30, tbs, algorithm, der(0x03, Buffer.from([0]), signature));
  return {
    privateKey,
    keyId: hash('sha256', spki, 'hex'),
    der: bytes,
    pem: `-----BEGIN CERTIFICATE-----\n${lines(bytes.toString('base64'))}-----END CERTIFICATE-----\n`,
    namedAs: der(0x30, issuer, serial),
    issue: (more = {}) => certify(more, { common, privateKey }),
  };
}

const usages = { server: 1, client: 2 } as const;

const extension = (id: string, value: Uint8Array): Buffer => der(0x30, der(0x06, hex(id)), der(0x04, value));

/** RFC 5280 §4.2.1.6. */
function generalName([kind, value]: AlternativeName): Buffer {
  const tags = { email: 0x81, dns: 0x82, uri: 0x86, ip: 0x87 } as const;
  return der(tags[kind], kind === 'ip' ? Buffer.from(value.split('.').map(Number)) : Buffer.from(value));
}

function keyOf(kind: NonNullable<CertificateOptions['key']>): KeyObject {
  if (typeof kind !== 'string') return kind;
  if (kind === 'ed25519') return generateKeyPairSync('ed25519').privateKey;
  if (kind === 'rsa' || kind === 'rsa-1024') return generateKeyPairSync('rsa', { modulusLength: kind === 'rsa' ? 2048 : 1024 }).privateKey;
  return generateKeyPairSync('ec', { namedCurve: kind }).privateKey;
}

function publicDer(privateKey: KeyObject): Buffer {
  return createPublicKey(privateKey.export({ type: 'pkcs8', format: 'pem' })).export({ type: 'spki', format: 'der' });
}

/** How a CMS is, where it is not as Keystone's. */
export interface CmsOptions {
  readonly digest?: Digest;
  /** In place of the digest's own, in both places. */
  readonly digestAlgorithm?: Buffer;
  /** In place of the one that the key has with the digest. */
  readonly signatureAlgorithm?: Buffer;
  readonly namedAs?: Buffer;
  /** Of these bytes is the signature; the content where nothing is said. */
  readonly signed?: Uint8Array;
  readonly signature?: Buffer;
  /** The elements of SignedData before the signers, after the content: certificates [0], lists of revoked ones [1]. */
  readonly beside?: readonly Buffer[];
  /** Between digest algorithm and signature algorithm of the signer. */
  readonly signedAttributes?: Buffer;
  /** After the signature. */
  readonly unsignedAttributes?: Buffer;
  /** More signers after the first. */
  readonly moreSigners?: readonly Buffer[];
  readonly version?: number;
  readonly contentType?: Buffer;
}

/** One SignerInfo. */
export function signerInfo(content: Uint8Array, by: Certified, options: CmsOptions = {}): Buffer {
  const { digest = 'sha256' } = options;
  const own =
    by.privateKey.asymmetricKeyType === 'rsa' ? algorithms.rsa : algorithms[`ecdsaWithSha${digest.slice(3)}` as 'ecdsaWithSha256'];
  return der(
    0x30,
    integer(1),
    options.namedAs ?? by.namedAs,
    options.digestAlgorithm ?? algorithms[digest],
    ...(options.signedAttributes ? [options.signedAttributes] : []),
    options.signatureAlgorithm ?? own,
    der(0x04, options.signature ?? sign(digest, options.signed ?? content, by.privateKey)),
    ...(options.unsignedAttributes ? [options.unsignedAttributes] : []),
  );
}

/** `content` in a CMS that `by` has signed. */
export function cmsOf(content: Uint8Array | string, by: Certified, options: CmsOptions = {}): Buffer {
  const bytes = Buffer.from(content);
  const { digest = 'sha256', beside = [], moreSigners = [], version = 1 } = options;
  const signedData = der(
    0x30,
    integer(version),
    der(0x31, options.digestAlgorithm ?? algorithms[digest]),
    der(0x30, options.contentType ?? hex('06 09 2a864886f70d010701'), der(0xa0, der(0x04, bytes))),
    ...beside,
    der(0x31, signerInfo(bytes, by, options), ...moreSigners),
  );
  return der(0x30, hex('06 09 2a864886f70d010702'), der(0xa0, signedData));
}

/** As `cms_to_token` spells it. */
export function pkiOf(cms: Uint8Array): string {
  return Buffer.from(cms).toString('base64').replaceAll('/', '-');
}

/** As `pkiz_sign` spells it; `level` of zlib is 6 there. */
export function pkizOf(cms: Uint8Array, level = 6): string {
  return pkizOfBytes(Buffer.from(pemOf(cms)), level);
}

/** Any bytes in the place of the PEM. */
export function pkizOfBytes(bytes: Uint8Array, level = 6): string {
  return `PKIZ_${padded(deflateSync(bytes, { level }))}`;
}

/** base64url with padding, as Python writes it. */
export function padded(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

export function pemOf(cms: Uint8Array): string {
  return `-----BEGIN CMS-----\n${lines(Buffer.from(cms).toString('base64'))}-----END CMS-----\n`;
}

function lines(base64: string): string {
  return base64.replaceAll(/.{1,64}/g, '$&\n');
}
