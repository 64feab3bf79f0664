// Keystone's side of its keys: repositories on disk, and tokens made with them, for tests.

import { createCipheriv, createHmac, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from '@msgpack/msgpack';

/** What a made token says. Times in milliseconds; ids are UUIDs in 32 hex digits. */
export interface MadeToken {
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** 22 characters each. */
  readonly auditIds?: readonly string[];
  readonly userId?: string;
  readonly projectId?: string;
}

/** A repository in a folder of its own; end it with `remove`. */
export interface KeyFolder {
  readonly dir: string;
  put(name: string, text: string): void;
  take(name: string): void;
  remove(): void;
}

/** An empty folder with these files. */
export function keyFolder(files: Readonly<Record<string, string>> = {}): KeyFolder {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-keys-'));
  const put = (name: string, text: string): void => writeFileSync(join(dir, name), text);
  for (const [name, text] of Object.entries(files)) put(name, text);
  return {
    dir,
    put,
    take: (name) => rmSync(join(dir, name)),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** A new key as Keystone writes it. */
export function newFernetKey(): string {
  return randomBytes(32).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

/** A new audit id. */
export function newAuditId(): string {
  return randomBytes(16).toString('base64url');
}

/** An envelope around any payload. */
export function sealFernet(key: string, payload: Uint8Array, madeAtMs: number): string {
  const bytes = Buffer.from(key, 'base64url');
  const iv = randomBytes(16);
  const head = Buffer.alloc(9);
  head[0] = 0x80;
  head.writeBigUInt64BE(BigInt(Math.floor(madeAtMs / 1000)), 1);
  const cipher = createCipheriv('aes-128-cbc', bytes.subarray(16), iv);
  const signed = Buffer.concat([head, iv, cipher.update(payload), cipher.final()]);
  return Buffer.concat([signed, createHmac('sha256', bytes.subarray(0, 16)).update(signed).digest()]).toString('base64url');
}

const uuid = (hex: string): readonly [true, Uint8Array] => [true, Buffer.from(hex, 'hex')];
const someUser = '0123456789abcdef'.repeat(2);

/** A Fernet token: of a project (version 2) where one is named, else unscoped (0). */
export function fernetToken(key: string, said: MadeToken): string {
  const { issuedAtMs, expiresAtMs, auditIds = [newAuditId()], userId = someUser, projectId } = said;
  const audits = auditIds.map((id) => Buffer.from(id, 'base64url'));
  const scope = projectId === undefined ? [] : [uuid(projectId)];
  // With a fraction, which Keystone cuts off: whole numbers would not be written as the floats that its own are.
  const expires = expiresAtMs / 1000 + 0.25;
  const payload = [projectId === undefined ? 0 : 2, uuid(userId), 2, ...scope, expires, audits];
  return sealFernet(key, encode(payload), issuedAtMs);
}

/** A node's key pair. */
export interface NodeKey {
  readonly algorithm: string;
  readonly privateKey: KeyObject;
  /** As it lies in the repository. */
  readonly pem: string;
}

const curves: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };

/** A new one; also of kinds that Keystone does not sign with. */
export function newNodeKey(algorithm: 'ES256' | 'ES384' | 'ES512' | 'EdDSA' | 'RS256' = 'ES256'): NodeKey {
  const namedCurve = curves[algorithm];
  const pair =
    namedCurve !== undefined
      ? generateKeyPairSync('ec', { namedCurve })
      : algorithm === 'EdDSA'
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { algorithm, privateKey: pair.privateKey, pem: pair.publicKey.export({ type: 'spki', format: 'pem' }).toString() };
}

/** Signs any header and claims. */
export function signJws(key: Pick<NodeKey, 'algorithm' | 'privateKey'>, claims: object, header: object = {}): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: key.algorithm, typ: 'JWT', ...header })}.${part(claims)}`;
  const digests: Readonly<Record<string, string>> = { ES256: 'sha256', ES384: 'sha384', ES512: 'sha512', RS256: 'sha256' };
  const signature = sign(digests[key.algorithm], Buffer.from(signed), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}

/** What Keystone's JWS says. */
export function jwsClaims(said: MadeToken): Record<string, unknown> {
  const { issuedAtMs, expiresAtMs, auditIds = [newAuditId()], userId = someUser, projectId } = said;
  return {
    sub: userId,
    iat: issuedAtMs / 1000,
    exp: expiresAtMs / 1000,
    openstack_methods: ['password'],
    openstack_audit_ids: auditIds,
    ...(projectId !== undefined && { openstack_project_id: projectId }),
  };
}
