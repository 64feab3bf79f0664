// Somebody who signs tokens: good ones with jose, and such as no library would write.

import { KeyObject, sign } from 'node:crypto';
import { CompactSign, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose';

/** A key pair that signs. */
export interface Signer {
  readonly algorithm: string;
  readonly kid: string | undefined;
  /** Public; with `kid` if it has one, `alg` and `use`. */
  readonly jwk: JWK;
  /** The same with its private part. */
  readonly privateJwk: JWK;
  /** RFC 7638. */
  readonly thumbprint: string;
  /** A token of `claims`; `header` over the usual one (`alg`, `kid`, `typ: at+jwt`), a member set to undefined is left out. */
  sign(claims: object, header?: object): Promise<string>;
  /** A token with exactly this text as header and payload. ES256 only. */
  signText(header: string | Uint8Array, payload: string | Uint8Array): string;
}

/** Makes a new key pair for `algorithm`. */
export async function createSigner(algorithm = 'ES256', kid?: string): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
  const named = { ...(kid === undefined ? {} : { kid }), alg: algorithm, use: 'sig' };
  const jwk = { ...(await exportJWK(publicKey)), ...named };
  return {
    algorithm,
    kid,
    jwk,
    privateJwk: { ...(await exportJWK(privateKey)), ...named },
    thumbprint: await calculateJwkThumbprint(jwk, 'sha256'),
    sign: (claims, header = {}) =>
      new CompactSign(Buffer.from(JSON.stringify(claims)))
        .setProtectedHeader(withoutUndefined({ alg: algorithm, kid, typ: 'at+jwt', ...header }))
        .sign(privateKey),
    signText(header, payload) {
      const input = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
      const key = { key: KeyObject.from(privateKey), dsaEncoding: 'ieee-p1363' as const };
      return `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`;
    },
  };
}

/** JSON drops such members as well; jose looks at them first. */
function withoutUndefined(header: { alg: string; [name: string]: unknown }): { alg: string } {
  return { ...Object.fromEntries(Object.entries(header).filter(([, value]) => value !== undefined)), alg: header.alg };
}
