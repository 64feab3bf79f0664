// A Keystone that answers as it is told to, and knows to the moment which token it accepts: the oracle of the region.

import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { everybodys, type TokenFacts, tokenBody } from './keystone-body.ts';

/**
 * How it is. `slow`: every answer comes later; `hanging`: requests are taken and answered when that is over; `failing`: 503;
 * `down`: the port is closed.
 */
export type Mood = 'well' | 'slow' | 'hanging' | 'failing' | 'down';

/** A token that it has issued. */
export interface Issued {
  readonly token: string;
  readonly auditId: string;
  readonly endsAtMs: number;
}

/** The running Keystone. */
export interface ScriptedKeystone {
  /** Ends in `/v3`. */
  readonly url: string;
  readonly port: number;
  /** A token of the shape of a Fernet token, good for `lifeMs`, ended at a whole second. */
  issue(userId: string, lifeMs: number): Issued;
  /** From now on it is refused. */
  deny(token: string): void;
  /** From now on it is as this. Resolves when that is so. */
  become(mood: Mood): Promise<void>;
  /** Validations of this token so far, answered or not; of any without one. Logins do not count. */
  validations(token?: string): number;
  /** By how much every answer is late while it is `slow`, in milliseconds. */
  slowMs: number;
  /** Resolves when so many validations of it have come. */
  asked(token: string, count: number): Promise<void>;
  /** Where its catalogs say that it is; at first `url`. */
  identityUrl: string;
  /** Called when a DELETE has made a token one that is refused. */
  onRevoked: (token: string) => void;
  /** Called with each validation, answered or not: of which token, and by whose own token. */
  onValidation: (token: string, caller: string) => void;
  /** From now on its list of revocation events, which is empty at first, has this row too. */
  list(row: Readonly<Record<string, unknown>>): void;
  /** How often that has been asked for. */
  readonly polls: number;
  close(): Promise<void>;
}

/** Starts one on loopback. `login` is the only password it takes. */
export async function startScriptedKeystone(login: { readonly password: string }): Promise<ScriptedKeystone> {
  const issued = new Map<string, TokenFacts & { denied: boolean }>();
  const own = new Set<string>();
  const counts = new Map<string, number>();
  const sockets = new Set<Socket>();
  const held = new Set<() => void>();
  const looks = new Set<() => void>();
  const rows: Readonly<Record<string, unknown>>[] = [];
  let total = 0;
  let polls = 0;
  let mood: Mood = 'well';

  function answer(incoming: IncomingMessage, body: string): Reply {
    if (mood === 'failing') return errorReply(503, 'Service Unavailable', 'The service is away.');
    const path = (incoming.url ?? '').replace(/\?.*/s, '');
    if (path === '/v3' || path === '/v3/') return { status: 200, body: version(`http://${incoming.headers.host}`) };
    if (path === '/v3/OS-REVOKE/events' || path.startsWith('/v3/projects/'))
      return listed(incoming.url ?? '', String(incoming.headers['x-auth-token'] ?? ''));
    if (path !== '/v3/auth/tokens') return errorReply(404, 'Not Found', 'The resource could not be found.');
    if (incoming.method === 'POST') return logIn(body);
    const subject = String(incoming.headers['x-subject-token'] ?? '');
    const known = issued.get(subject);
    const isGood = known !== undefined && !known.denied && known.expiresAtMs > Date.now();
    const caller = String(incoming.headers['x-auth-token'] ?? '');
    // Whoever holds a token may revoke it by itself; everything else takes a login.
    if (!own.has(caller) && !(incoming.method === 'DELETE' && caller === subject && isGood)) return unauthorized;
    if (!isGood) return errorReply(404, 'Not Found', 'Failed to validate token');
    if (incoming.method === 'DELETE') {
      known.denied = true;
      keystone.onRevoked(subject);
      return { status: 204, body: '' };
    }
    const withCatalog = !/[?&]nocatalog/.test(incoming.url ?? '');
    return { status: 200, body: tokenBody(known, withCatalog ? keystone.identityUrl : undefined), subject };
  }

  /** What happened later than `since`, as Keystone takes that; and everybody's project is enabled. */
  function listed(url: string, caller: string): Reply {
    if (!own.has(caller)) return unauthorized;
    const { pathname: path, searchParams } = new URL(url, 'http://keystone');
    if (path === '/v3/OS-REVOKE/events') {
      polls += 1;
      const sinceMs = Date.parse(searchParams.get('since') ?? '') || 0;
      const events = rows.filter(({ revoked_at: at }) => Date.parse(String(at)) > sinceMs);
      return { status: 200, body: JSON.stringify({ events, links: { next: null, self: path, previous: null } }) };
    }
    const { projectId: id, domainId: domain_id } = everybodys;
    if (!path.endsWith(`/${id}`)) return errorReply(404, 'Not Found', 'Could not find project.');
    return { status: 200, body: JSON.stringify({ project: { id, name: 'web', domain_id, enabled: true, is_domain: false } }) };
  }

  function logIn(body: string): Reply {
    if (!body.includes(JSON.stringify(login.password))) return unauthorized;
    const subject = fernetLike();
    own.add(subject);
    const nowMs = Date.now();
    const facts = { userId: 'service', auditId: auditId(), issuedAtMs: nowMs, expiresAtMs: nowMs + 3_600_000, roles: ['service'] };
    return { status: 201, body: tokenBody(facts, keystone.identityUrl), subject };
  }

  const server = createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk);
    } catch {
      // Whoever asked has left in the middle of it.
      return;
    }
    if (incoming.method === 'GET' && incoming.headers['x-subject-token'] !== undefined) {
      const token = String(incoming.headers['x-subject-token']);
      counts.set(token, (counts.get(token) ?? 0) + 1);
      total += 1;
      keystone.onValidation(token, String(incoming.headers['x-auth-token'] ?? ''));
      for (const look of looks) look();
    }
    // Decided when it is answered, not when it is asked: what was denied meanwhile is refused.
    const go = (): void => send(outgoing, answer(incoming, Buffer.concat(chunks).toString()));
    if (mood === 'hanging') held.add(go);
    else if (mood === 'slow') setTimeout(go, keystone.slowMs);
    else go();
  });
  server.keepAliveTimeout = 60_000;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A sidecar that is killed cuts its connections.
    socket.on('error', () => sockets.delete(socket));
  });
  const listen = (port: number): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  await listen(0);
  const { port } = server.address() as AddressInfo;

  const keystone: ScriptedKeystone = {
    url: `http://127.0.0.1:${port}/v3`,
    port,
    issue(userId, lifeMs) {
      const nowMs = Date.now();
      const expiresAtMs = Math.ceil((nowMs + lifeMs) / 1000) * 1000;
      const token = fernetLike();
      const facts = { userId, auditId: auditId(), issuedAtMs: nowMs, expiresAtMs, denied: false };
      issued.set(token, facts);
      return { token, auditId: facts.auditId, endsAtMs: expiresAtMs };
    },
    deny(token) {
      const facts = issued.get(token);
      if (facts) facts.denied = true;
    },
    async become(next) {
      const before = mood;
      mood = next;
      if (next === 'down' && before !== 'down') await stop();
      if (next !== 'down' && before === 'down') await listen(port);
      if (next === 'hanging') return;
      for (const go of held) go();
      held.clear();
    },
    validations: (token) => (token === undefined ? total : (counts.get(token) ?? 0)),
    asked: (token, count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if ((counts.get(token) ?? 0) < count) return;
          looks.delete(look);
          resolve();
        };
        looks.add(look);
        look();
      }),
    slowMs: 300,
    identityUrl: `http://127.0.0.1:${port}/v3`,
    onRevoked: () => undefined,
    onValidation: () => undefined,
    list: (row) => void rows.push(row),
    get polls() {
      return polls;
    },
    close: () => (server.listening ? stop() : Promise.resolve()),
  };
  return keystone;
}

/** Of the shape of a Fernet token, issued by nobody. */
export function fernetLike(): string {
  const bytes = randomBytes(1 + 8 + 16 + 80 + 32);
  bytes[0] = 0x80;
  bytes.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000)), 1);
  return bytes.toString('base64url');
}

const auditId = (): string => randomBytes(16).toString('base64url');

interface Reply {
  readonly status: number;
  readonly body: string;
  /** X-Subject-Token. */
  readonly subject?: string;
}

function send(outgoing: ServerResponse, { status, body, subject }: Reply): void {
  // Whoever asked may have left.
  if (outgoing.destroyed) return;
  const headers = {
    'content-type': 'application/json',
    vary: 'X-Auth-Token',
    ...(subject !== undefined && { 'x-subject-token': subject }),
  };
  outgoing.writeHead(status, headers).end(body);
}

function errorReply(code: number, title: string, message: string): Reply {
  return { status: code, body: JSON.stringify({ error: { code, message, title } }) };
}

const unauthorized = errorReply(401, 'Unauthorized', 'The request you have made requires authentication.');

function version(origin: string): string {
  const links = [{ rel: 'self', href: `${origin}/v3/` }];
  const types = [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }];
  return JSON.stringify({ version: { id: 'v3.14', status: 'stable', updated: '2020-04-07T00:00:00Z', links, 'media-types': types } });
}
