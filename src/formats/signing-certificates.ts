// Certificates that sign tokens, and those that vouch for them: read, judged at a moment, and held against what somebody signed.

import { createHash, type KeyObject, verify, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import type { Certificate } from 'pkijs';
import { SidecarError } from '../core/errors.ts';
import type { SignedContent } from './cms.ts';

/** A certificate whose key may sign tokens. */
export interface Signer {
  /** SHA-256 of its public key (SPKI, DER) in hex: what Facts.keyId and invalidations call it. */
  readonly keyId: string;
  /** SHA-256 of the certificate in hex. */
  readonly fingerprint: string;
  /** Issuer and serial number in DER, as a CMS names its signer. */
  readonly namedAs: Uint8Array;
  readonly key: KeyObject;
  readonly keyKind: 'rsa' | 'ec';
  readonly certificate: Certificate;
}

/** What two files hold: every certificate of the first may sign tokens, and stand between another and one of the second. */
export interface Certificates {
  readonly signers: readonly Signer[];
  readonly links: readonly Certificate[];
  readonly authorities: readonly Certificate[];
  /** Of the first file those that cannot be used, for people. */
  readonly problems: readonly string[];
}

/** What the times and signatures of certificates make of them at one moment. */
export interface Judgement {
  /** From whom a chain of valid certificates leads to an authority. */
  readonly trusted: readonly Signer[];
  /** Of the others, for people. */
  readonly problems: readonly string[];
  /** From `sinceMs` up to `untilMs`, which is exclusive, it stays so; wall clock. */
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** More than this is not a set of signing certificates. */
const maxCertificates = 16;
/** RFC 7518 §3.3; Keystone's own tool made keys of this size. */
const minRsaBits = 2048;
const curves: readonly string[] = ['prime256v1', 'secp384r1', 'secp521r1'];
const pemBegin = '-----BEGIN CERTIFICATE-----';
const pemBlock = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** OpenSSL's: RSA as PKCS #1 v1.5, an elliptic signature in DER and nothing but DER. */
const verified: (digest: string, data: Uint8Array, key: KeyObject, signature: Uint8Array) => Promise<boolean> = promisify(verify);

/** The certificates in two PEM texts. Throws UNAVAILABLE / KEYS_UNREADABLE where one has none, more than 16, or one that is broken. */
export async function readCertificates(signingPem: string, authorityPem: string): Promise<Certificates> {
  const signing = certificatesIn(signingPem, 'of signing certificates');
  const authorities = certificatesIn(authorityPem, 'of CA certificates');
  const signers: Signer[] = [];
  const problems: string[] = [];
  const links: Certificate[] = [];
  for (const x509 of signing) {
    const key = usableKey(x509);
    const certificate = await parsed(x509);
    links.push(certificate);
    if (key === undefined) problems.push(`${called(fingerprintOf(x509))} has a key that is not used for tokens`);
    else signers.push({ ...key, certificate, fingerprint: fingerprintOf(x509), namedAs: await namedAs(certificate) });
  }
  return { signers, links, authorities: await Promise.all(authorities.map(parsed)), problems };
}

/** Which signers are to be believed at `atMs`. As `openssl cms -verify` judges: now, not when a token was issued. */
export async function judge({ signers, links, authorities }: Certificates, atMs: number): Promise<Judgement> {
  const { CertificateChainValidationEngine } = await import('pkijs');
  const trusted: Signer[] = [];
  const problems: string[] = [];
  for (const signer of signers) {
    const { certificate, fingerprint } = signer;
    // The last one is the one in question.
    const certs = [...links.filter((link) => link !== certificate), certificate];
    const chain = new CertificateChainValidationEngine({ trustedCerts: [...authorities], certs, checkDate: new Date(atMs) });
    // Whatever is in a certificate that it cannot make out: then it is not trusted.
    const leads = await chain.verify().then(
      ({ result }) => result,
      () => false,
    );
    if (leads) trusted.push(signer);
    else problems.push(`${called(fingerprint)} ${whyNot(certificate, atMs)}`);
  }
  const bounds = [...links, ...authorities].flatMap(({ notBefore, notAfter }) => [notBefore.value.getTime(), notAfter.value.getTime() + 1]);
  return {
    trusted,
    problems,
    sinceMs: Math.max(-Infinity, ...bounds.filter((bound) => bound <= atMs)),
    untilMs: Math.min(Infinity, ...bounds.filter((bound) => bound > atMs)),
  };
}

/**
 * Whether `signer` has signed it. Only what `signed` tells goes in: no certificate, list of revoked ones or attribute of a token is ever
 * looked at. Whether the signer is to be believed is another question (`judge`).
 * Throws UNAVAILABLE / SIGNATURE_NOT_CHECKED where that could not be told. Cost: one verification, not on this thread.
 */
export async function hasSigned({ key, keyKind }: Signer, { algorithm, content, signature }: SignedContent): Promise<boolean> {
  if (algorithm?.keyKind !== keyKind) return false;
  try {
    return await verified(algorithm.digest, content, key, signature);
  } catch (_notChecked) {
    // Not about the token: no evidence. Its message is not ours, so it stays here.
    throw new SidecarError('UNAVAILABLE', 'A signature could not be checked', { reason: 'SIGNATURE_NOT_CHECKED' });
  }
}

function certificatesIn(pem: string, what: string): readonly X509Certificate[] {
  const blocks = pem.match(pemBlock) ?? [];
  if (blocks.length !== pem.split(pemBegin).length - 1) throw unreadable(`The file ${what} holds one that is broken`);
  if (blocks.length === 0) throw unreadable(`The file ${what} holds none`);
  if (blocks.length > maxCertificates) throw unreadable(`The file ${what} holds more than ${maxCertificates}`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (_broken) {
    // All or nothing: a file that is being written must not pass for one from which a key has left.
    throw unreadable(`The file ${what} holds one that is broken`);
  }
}

async function parsed(x509: X509Certificate): Promise<Certificate> {
  const pkijs = await import('pkijs');
  try {
    return pkijs.Certificate.fromBER(new Uint8Array(x509.raw));
  } catch (_broken) {
    throw unreadable('A certificate cannot be read');
  }
}

async function namedAs({ issuer, serialNumber }: Certificate): Promise<Uint8Array> {
  const pkijs = await import('pkijs');
  return new Uint8Array(new pkijs.IssuerAndSerialNumber({ issuer, serialNumber }).toSchema().toBER());
}

function usableKey(x509: X509Certificate): Pick<Signer, 'keyId' | 'key' | 'keyKind'> | undefined {
  const key = publicKeyOf(x509);
  const { modulusLength = 0, namedCurve = '' } = key?.asymmetricKeyDetails ?? {};
  const kind = key?.asymmetricKeyType;
  const isUsable = (kind === 'rsa' && modulusLength >= minRsaBits) || (kind === 'ec' && curves.includes(namedCurve));
  if (key === undefined || !isUsable) return undefined;
  return { keyId: sha256(key.export({ type: 'spki', format: 'der' })), key, keyKind: kind };
}

function publicKeyOf(x509: X509Certificate): KeyObject | undefined {
  try {
    return x509.publicKey;
  } catch (_unknownKind) {
    // A certificate all the same: of a kind of key that OpenSSL here does not know.
    return undefined;
  }
}

function whyNot({ notBefore, notAfter }: Certificate, atMs: number): string {
  if (notBefore.value.getTime() > atMs) return 'is not valid yet';
  if (notAfter.value.getTime() < atMs) return 'has expired';
  return 'does not lead to a CA by certificates that are valid now';
}

function fingerprintOf(x509: X509Certificate): string {
  return sha256(x509.raw);
}

function called(fingerprint: string): string {
  return `the signing certificate with SHA-256 ${fingerprint.slice(0, 16)}…`;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function unreadable(message: string): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason: 'KEYS_UNREADABLE', retryAfterMs: 1_000 });
}
