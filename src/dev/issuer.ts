// The embedded issuer of `sidegate dev`: real keys, real tokens, discovery, a key set and introspection, in this process. Not for production.

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import type { Clock } from '../ports.ts';
import { answerRequest, type IssuerContents } from './issuer-endpoints.ts';

/** Where to listen; any free port without one. */
export interface IssuerOptions {
  readonly clock: Clock;
  readonly host?: string;
  readonly port?: number;
}

/** What a token is to say. */
export interface MintOptions {
  /** Its subject and name. */
  readonly name: string;
  /** `jwt`: signed (RFC 9068); `opaque`: only introspection knows what it says. */
  readonly kind: 'jwt' | 'opaque';
  readonly roles?: readonly string[];
  readonly scopes?: readonly string[];
  /** Without it: `devAudience`. */
  readonly audience?: string;
  /** Without it: `dev-console`. */
  readonly clientId?: string;
  /** Without it: a session of its own. */
  readonly sessionId?: string;
  /** Milliseconds; without it: an hour. */
  readonly livesMs?: number;
}

/** A token to play with. */
export interface MintedToken {
  readonly name: string;
  readonly kind: 'jwt' | 'opaque';
  readonly token: string;
  readonly tokenId: string;
  readonly sessionId: string;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

/** A running issuer. */
export interface DevIssuer {
  /** Its base, without a slash at the end: the `iss` of its tokens. Discovery is below it. */
  readonly url: string;
  readonly jwksUrl: string;
  readonly introspectionUrl: string;
  /** alice (JWT, role member), bob (JWT, role admin) and robot (opaque, role member, of the client robot). */
  readonly tokens: readonly MintedToken[];
  mint(options: MintOptions): Promise<MintedToken>;
  /** From now on introspection answers inactive for `token`; false: it is none of ours. A JWT stays well signed, as everywhere. */
  revokeUpstream(token: string): boolean;
  /** Signs with a new key and answers its id. The old one leaves the set at once, unless `keepOld`: then the newest four stay. */
  rotate(options?: { readonly keepOld?: boolean }): Promise<string>;
  /** Resolves when the signal has stopped it. */
  readonly closed: Promise<void>;
}

/** The audience of its tokens. */
export const devAudience = 'https://api.sidegate.test';

/** How its opaque tokens begin. */
export const devPrefix = 'dev_';

/** Tokens that are remembered (the oldest are forgotten, which is inactive), keys in the set, and milliseconds for a request. */
export const devLimits = { tokens: 10_000, keys: 4, requestMs: 5_000 } as const;

interface SigningKey {
  readonly keyId: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: JWK;
}

interface Known {
  readonly claims: Readonly<Record<string, unknown>>;
  readonly expiresAtMs: number;
  revoked: boolean;
}

/** Starts an issuer and mints its first three tokens. It listens until `signal` aborts. Throws what `listen` says when it cannot. */
export async function startIssuer({ clock, host = '127.0.0.1', port = 0 }: IssuerOptions, signal: AbortSignal): Promise<DevIssuer> {
  signal.throwIfAborted();
  let keys: readonly [SigningKey, ...SigningKey[]] = [await createKey()];
  const known = new Map<string, Known>();
  const server = createServer({ requestTimeout: devLimits.requestMs, headersTimeout: devLimits.requestMs }, (request, response) => {
    // An authority's `Date` is how others see its clock.
    response.setHeader('Date', new Date(clock.nowMs()).toUTCString());
    // What rejects is a connection that has broken: nobody is left to be told.
    answerRequest(request, response, contents).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, resolve);
  });
  const closed = new Promise<void>((resolve) => {
    const close = (): void => {
      server.close(() => resolve());
      server.closeAllConnections();
    };
    if (signal.aborted) close();
    else signal.addEventListener('abort', close, { once: true });
  });
  const bound = server.address() as AddressInfo;
  const url = `http://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`;
  const contents: IssuerContents = {
    url,
    keys: () => keys.map(({ publicJwk }) => publicJwk),
    claimsOf(token) {
      const found = known.get(token);
      return found !== undefined && !found.revoked && clock.nowMs() < found.expiresAtMs ? found.claims : undefined;
    },
  };

  async function mint(options: MintOptions): Promise<MintedToken> {
    const { name, kind, roles = [], scopes = ['read'], audience = devAudience, clientId = 'dev-console', livesMs = 3_600_000 } = options;
    const issuedAt = Math.floor(clock.nowMs() / 1_000);
    const expiresAt = issuedAt + Math.floor(livesMs / 1_000);
    const tokenId = randomBytes(12).toString('base64url');
    const sessionId = options.sessionId ?? randomBytes(12).toString('base64url');
    const claims = {
      iss: url,
      sub: name,
      aud: audience,
      iat: issuedAt,
      exp: expiresAt,
      jti: tokenId,
      sid: sessionId,
      client_id: clientId,
      scope: scopes.join(' '),
      roles,
      ...(kind === 'jwt' ? { preferred_username: name } : { username: name }),
    };
    const [key] = keys;
    const token =
      kind === 'opaque'
        ? devPrefix + randomBytes(24).toString('base64url')
        : await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: key.keyId }).sign(key.privateKey);
    const expiresAtMs = expiresAt * 1_000;
    known.set(token, { claims, expiresAtMs, revoked: false });
    const [oldest] = known.keys();
    if (known.size > devLimits.tokens && oldest !== undefined) known.delete(oldest);
    return { name, kind, token, tokenId, sessionId, expiresAtMs };
  }

  return {
    url,
    jwksUrl: `${url}/jwks`,
    introspectionUrl: `${url}/introspect`,
    tokens: [
      await mint({ name: 'alice', kind: 'jwt', roles: ['member'], scopes: ['read'] }),
      await mint({ name: 'bob', kind: 'jwt', roles: ['admin'], scopes: ['read', 'write'] }),
      await mint({ name: 'robot', kind: 'opaque', roles: ['member'], scopes: ['read'], clientId: 'robot' }),
    ],
    mint,
    revokeUpstream(token) {
      const found = known.get(token);
      if (found === undefined) return false;
      found.revoked = true;
      return true;
    },
    async rotate({ keepOld = false } = {}) {
      const key = await createKey();
      keys = [key, ...(keepOld ? keys.slice(0, devLimits.keys - 1) : [])];
      return key.keyId;
    },
    closed,
  };
}

async function createKey(): Promise<SigningKey> {
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const keyId = randomBytes(9).toString('base64url');
  return { keyId, privateKey, publicJwk: { ...(await exportJWK(publicKey)), kid: keyId, alg: 'ES256', use: 'sig' } };
}
