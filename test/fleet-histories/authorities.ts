// Who issues the tokens of a history, and counts up what is true of each: an introspection endpoint and a Keystone over real HTTP, whose
// facts carry their version, and a signer, whose facts never change.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Token } from '../../src/client/index.ts';
import { secretFile } from '../../src/config/secrets.ts';
import type { IssuerConfig } from '../../src/config/types.ts';
import { createHttpAuthority, type ReceivedRequest, type ScriptedAnswer } from '../fakes/http-authority.ts';
import { keystoneIssuer } from '../fakes/keystone-issuer.ts';
import { createSigner } from '../fakes/signer.ts';
import { isoOf } from '../news/poll-stage.ts';
import type { Chance } from './chance.ts';
import type { Happening } from './happening.ts';

export const issuerNames = ['opaque', 'keystone', 'signed'] as const;

/** As the configuration names it. */
export type IssuerName = (typeof issuerNames)[number];

/** A token of the history. `id`: its `jti`, or audit id, by which the history speaks of it. */
export interface Issued {
  readonly id: string;
  readonly raw: string;
  readonly issuer: IssuerName;
  readonly userId: string;
  /** Of a session, or of a project. */
  readonly groupId: string;
  readonly issuedAtMs: number;
}

/** What an authority says of a token now. */
interface Truth {
  readonly version: number;
  readonly isGood: boolean;
  /** By the wall clock, whole seconds. */
  readonly expiresAtMs: number;
}

/** The authorities. */
export interface Authorities {
  readonly issuers: readonly IssuerConfig[];
  issue(issuer: IssuerName, userId: string, groupId: string): Promise<Issued>;
  /** From now on its authority says something else of it: other roles, another end, nothing good, or good again. */
  change(token: Issued, how: 'roles' | 'end' | 'refuse' | 'accept'): void;
  /** Keystone revokes everything of a user, and lists it. */
  revokeAtKeystone(userId: string): void;
  close(): Promise<void>;
}

/** Names by which an invalidation speaks of a token; a selector of an issuer's ids goes with the issuer. */
export const nameOf = {
  token: (id: string): string => `token:${id}`,
  issuer: (issuer: string): string => `issuer:${issuer}`,
  user: (issuer: string, userId: string): string => `user:${issuer}/${userId}`,
  group: (issuer: string, groupId: string): string => `group:${issuer}/${groupId}`,
};

/** Of an answer's facts: which token of the history it is, and by which version of the truth. */
export function readFacts(token: Token): { readonly id: string; readonly version: number } {
  const id = token.tokenId ?? token.auditIds[0] ?? '';
  const words = token.issuer === 'keystone' ? token.roles.map(({ name }) => name) : token.scopes;
  return { id, version: Number(words.find((word) => /^v\d+$/.test(word))?.slice(1)) };
}

const hour = 3_600_000;
const policy = { serviceRoles: [], revokeUpstream: false, skewMs: 0, maxTokenLifeMs: 24 * hour };
const tls = { caFile: undefined, serverName: undefined };
const calls = { deadlineMs: 5_000, concurrency: 64, queue: 1_024, attempts: 1 };

/** Starts them. Files of theirs go into `dir`; `note` hears of each token and of each version before anybody else does. */
export async function startAuthorities(dir: string, chance: Chance, note: (happening: Happening) => void): Promise<Authorities> {
  const http = await createHttpAuthority();
  const signer = await createSigner('ES256', 'one');
  const truths = new Map<string, Truth>();
  const byRaw = new Map<string, Issued>();
  const rows: object[] = [];
  let count = 0;
  writeFileSync(join(dir, 'secret'), 'a secret of ours');
  writeFileSync(join(dir, 'keys.json'), JSON.stringify({ keys: [signer.jwk] }));

  const tell = (token: Issued, truth: Truth): void => {
    const atMs = performance.now();
    const endsAtMs = atMs + truth.expiresAtMs - Date.now();
    note({ kind: 'truth', token: token.id, version: truth.version, isGood: truth.isGood, endsAtMs, atMs });
    truths.set(token.id, truth);
  };
  const goodOf = (raw: string | undefined): { readonly token: Issued; readonly truth: Truth } | undefined => {
    const token = byRaw.get(raw ?? '');
    const truth = token && truths.get(token.id);
    return token && truth?.isGood && Date.now() < truth.expiresAtMs ? { token, truth } : undefined;
  };

  http.script(async (request) => {
    // What is true is looked up somewhere between the question and its answer.
    await pause(chance.nat(15));
    const answer = request.path.startsWith('/introspect') ? introspected(request) : keystones(request);
    if (chance.nat(4) === 0) await pause(chance.nat(120));
    return answer;
  });

  function introspected({ body }: ReceivedRequest): ScriptedAnswer {
    const good = goodOf(new URLSearchParams(body).get('token') ?? undefined);
    if (good === undefined) return { status: 200, body: { active: false } };
    const { token, truth } = good;
    const times = { iat: token.issuedAtMs / 1000, exp: truth.expiresAtMs / 1000 };
    const names = { sub: token.userId, jti: token.id, sid: token.groupId, client_id: 'a client' };
    return { status: 200, body: { active: true, ...names, ...times, scope: `v${truth.version}` } };
  }

  function keystones({ method, path, headers }: ReceivedRequest): ScriptedAnswer {
    const date = new Date().toUTCString();
    if (method === 'POST') {
      const token = { issued_at: isoOf(Date.now()), expires_at: isoOf(Date.now() + hour), user: { id: 'us' } };
      return { status: 201, headers: { date, 'x-subject-token': 'ours' }, body: { token } };
    }
    if (path.startsWith('/v3/OS-REVOKE')) return { status: 200, headers: { date }, body: { events: rows } };
    const raw = headers['x-subject-token'];
    const good = goodOf(raw);
    if (good === undefined || raw === undefined)
      return { status: 404, headers: { date }, body: { error: { code: 404, message: 'none', title: 'Not Found' } } };
    const { token, truth } = good;
    const domain = { id: 'a-domain', name: 'a domain' };
    const body = {
      methods: ['password'],
      user: { id: token.userId, name: token.userId, domain, password_expires_at: null },
      audit_ids: [token.id],
      issued_at: isoOf(token.issuedAtMs),
      expires_at: isoOf(truth.expiresAtMs),
      project: { id: token.groupId, name: token.groupId, domain },
      is_domain: false,
      roles: [{ id: `role-v${truth.version}`, name: `v${truth.version}` }],
    };
    return { status: 200, headers: { date, 'x-subject-token': raw, vary: 'X-Auth-Token' }, body: { token: body } };
  }

  return {
    issuers: [
      {
        kind: 'introspection',
        name: 'opaque',
        tls,
        ...policy,
        url: `${http.url}/introspect`,
        auth: { kind: 'basic', clientId: 'sidegate', clientSecret: secretFile(join(dir, 'secret')) },
        revocation: undefined,
        accepts: ['opaque'],
        prefix: 'op.',
        calls,
        endless: false,
      },
      keystoneIssuer(http.url, join(dir, 'secret'), {
        name: 'keystone',
        calls,
        prefix: 'ks.',
        accepts: ['opaque'],
        news: { bus: undefined, poll: { everyMs: 500, overlapMs: 60_000, sweepMs: 600_000 } },
      }),
      {
        kind: 'jwt',
        name: 'signed',
        tls,
        ...policy,
        issuer: 'https://signed.test',
        keys: { kind: 'file', file: secretFile(join(dir, 'keys.json')) },
        algorithms: ['ES256'],
        types: ['at+jwt'],
        audiences: [],
        revocation: undefined,
        calls: { deadlineMs: 5_000 },
        expiredWithinMs: 0,
      },
    ],
    async issue(issuer, userId, groupId) {
      count += 1;
      const id = `${issuer}-${count}`;
      const issuedAtMs = Math.floor(Date.now() / 1000) * 1000;
      const expiresAtMs = issuedAtMs + hour;
      const times = { iat: issuedAtMs / 1000, exp: expiresAtMs / 1000 };
      const claims = {
        iss: 'https://signed.test',
        sub: userId,
        jti: id,
        sid: groupId,
        client_id: 'a client',
        aud: 'us',
        scope: 'v1',
        ...times,
      };
      const raw =
        issuer === 'signed'
          ? await signer.sign(claims)
          : `${issuer === 'opaque' ? 'op' : 'ks'}.${Buffer.from(id).toString('hex')}.and-a-secret`;
      const token: Issued = { id, raw, issuer, userId, groupId, issuedAtMs };
      const names = [nameOf.token(id), nameOf.issuer(issuer), nameOf.user(issuer, userId), nameOf.group(issuer, groupId)];
      note({ kind: 'issued', token: id, names, issuedAtMs });
      tell(token, { version: 1, isGood: true, expiresAtMs });
      byRaw.set(raw, token);
      return token;
    },
    change(token, how) {
      const before = truths.get(token.id);
      // What is signed says what it says, and Keystone moves no token's end.
      if (before === undefined || token.issuer === 'signed' || (how === 'end' && token.issuer !== 'opaque')) return;
      const soonMs = Math.floor(Date.now() / 1000 + 1 + chance.nat(3)) * 1000;
      const isGood = how === 'accept' || (how !== 'refuse' && before.isGood);
      const expiresAtMs = how === 'end' ? soonMs : how === 'accept' ? token.issuedAtMs + hour : before.expiresAtMs;
      tell(token, { version: before.version + 1, isGood, expiresAtMs });
    },
    revokeAtKeystone(userId) {
      const nowMs = Date.now();
      for (const token of byRaw.values()) {
        const before = truths.get(token.id);
        if (before && token.issuer === 'keystone' && token.userId === userId)
          tell(token, { ...before, version: before.version + 1, isGood: false });
      }
      rows.push({ user_id: userId, issued_before: isoOf(nowMs), revoked_at: isoOf(nowMs) });
      const names = [nameOf.issuer('keystone'), nameOf.user('keystone', userId)];
      note({ kind: 'listed', names, cutOffMs: Math.floor(nowMs / 1000) * 1000, atMs: performance.now() });
    },
    close: () => http.close(),
  };
}
