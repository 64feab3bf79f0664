// The longest tokens there are, through every path of a sidecar: a PKI token with its catalog (20 kB) and a federated one (311 characters).

import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ActiveAnswer, type Answer, type Client, connect } from '../src/client/index.ts';
import { openLevelJournal } from '../src/journal/leveldb.ts';
import type { Journal } from '../src/ports.ts';
import { systemClock } from '../src/sidecar.ts';
import { endAll, sidegate } from './cli/program.ts';
import { createHttpAuthority, type HttpAuthority, type ReceivedRequest, type ScriptedAnswer } from './fakes/http-authority.ts';
import { keystoneIssuer } from './fakes/keystone-issuer.ts';
import { describeWithMemcached, type Memcached, startMemcached } from './fakes/memcached.ts';
import { startSidecar, type TestSidecar } from './fakes/sidecar.ts';
import captured from './vectors/keystone-tokens.json' with { type: 'json' };
import vectors from './vectors/large-tokens.json' with { type: 'json' };

const pki = vectors.pki.token;
const federated = vectors.federated.token;
const ownToken = 'token-of-the-sidecar';
const factsTimeMs = 300_000;

/** The text that a PKI token signs is in it as it is, in an OCTET STRING with two bytes of length. */
function signedText(token: string): string {
  const bytes = Buffer.from(token.replaceAll('-', '/'), 'base64');
  const at = bytes.indexOf('{"token": ');
  return bytes.toString('utf8', at, at + bytes.readUInt16BE(at - 2));
}

/** Issued now, good for an hour. */
function inOurTime(text: string): string {
  const iso = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;
  return text
    .replace(/"expires_at": ?"[^"]+"/, `"expires_at": "${iso(Date.now() + 3_600_000)}"`)
    .replace(/"issued_at": ?"[^"]+"/, `"issued_at": "${iso(Date.now())}"`);
}

/** What Keystone says of them: of the PKI one what it holds, with a catalog; the federated one is unscoped and has none. */
const bodies: ReadonlyMap<string, string> = new Map([
  [pki, inOurTime(signedText(pki))],
  // As Python's json.dumps begins it.
  [federated, inOurTime(JSON.stringify(captured.tokens.federated_unscoped.body).replace('{"token":', '{"token": '))],
]);

/** As `?nocatalog`: the catalog is the last member. */
const withoutCatalog = (body: string): string => body.replace(/, "catalog": \[.*\]\}\}$/s, '}}');

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Over node:http: fetch takes no more than 16 kB of headers in a reply, and Keystone says the token in one. */
function http(url: string, headers: Readonly<Record<string, string>>, form?: string): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const method = form === undefined ? 'GET' : 'POST';
    const asking = request(url, { method, headers, maxHeaderSize: 131_072, agent: false }, async (response) => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: (await buffer(response)).toString() });
    });
    asking.on('error', reject);
    asking.end(form);
  });
}

const activeOf = (answer: Answer | undefined): ActiveAnswer =>
  answer?.active ? answer : expect.unreachable(`inactive: ${answer?.reason}`);

describeWithMemcached('the longest tokens', () => {
  let folder: string;
  let memcached: Memcached;
  let keystone: HttpAuthority;
  /** Dead at Keystone. */
  let revoked: Set<string>;
  const ends: (() => unknown)[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sidegate-large-'));
    writeFileSync(join(folder, 'password'), 'correct-horse', { mode: 0o600 });
    mkdirSync(join(folder, 'keys'));
    writeFileSync(join(folder, 'keys', 'one'), randomBytes(32));
    memcached = await startMemcached();
  });
  afterAll(async () => {
    await endAll();
    await memcached?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    expect(await memcached.command('flush_all')).toBe('OK');
    keystone = await createHttpAuthority();
    ends.push(() => keystone.close());
    revoked = new Set();
    keystone.script(answerTo);
  });
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  function answerTo({ method, path, headers }: ReceivedRequest): ScriptedAnswer {
    const { 'x-auth-token': caller = '', 'x-subject-token': subject = '' } = headers;
    if (method === 'POST') {
      const times = JSON.parse(bodies.get(pki) ?? '').token;
      const token = {
        expires_at: times.expires_at,
        issued_at: times.issued_at,
        methods: ['password'],
        user: { id: 'us' },
        audit_ids: ['own'],
      };
      return { status: 201, headers: { 'x-subject-token': ownToken }, body: { token } };
    }
    const message = 'Failed to validate token';
    const notFound = { status: 404, body: { error: { code: 404, message, title: 'Not Found' } } };
    const body = revoked.has(subject) ? undefined : bodies.get(subject);
    if (body === undefined) return notFound;
    if (caller !== ownToken && caller !== subject) return { status: 401, body: { error: { code: 401, message, title: 'Unauthorized' } } };
    if (method === 'DELETE') {
      revoked.add(subject);
      return { status: 204 };
    }
    const json = { 'content-type': 'application/json', 'x-subject-token': subject };
    return { status: 200, headers: json, body: path.includes('nocatalog') ? withoutCatalog(body) : body };
  }

  const asked = (method = 'GET'): readonly ReceivedRequest[] => keystone.requests.filter((one) => one.method === method);

  const patient = { deadlineMs: 20_000, concurrency: 16, queue: 64, attempts: 1 };

  interface Started {
    readonly sidecar: TestSidecar;
    readonly client: Client;
    stop(): Promise<void>;
  }

  /** All of them are one deployment. Without skew between hosts, a sidecar takes at once what another one has stored after its start. */
  async function start({
    journal,
    elapsedMs = () => 0,
  }: {
    readonly journal?: Journal;
    readonly elapsedMs?: () => number;
  } = {}): Promise<Started> {
    const sidecar = await startSidecar({
      // Its `Date` has whole seconds.
      issuers: [keystoneIssuer(keystone.url, join(folder, 'password'), { skewMs: 5000, calls: patient })],
      ...(journal && { journal }),
      clock: { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + elapsedMs() },
      config: (base) => ({
        ...base,
        deploymentKeyDir: join(folder, 'keys'),
        listen: { ...base.listen, keystone: { address: anyPort, allowExpired: true }, introspection: anyPort },
        limits: { ...base.limits, skewMs: 0 },
        caching: {
          ...base.caching,
          handles: { enabled: true },
          shared: { ...base.caching.shared, servers: [{ host: memcached.host, port: memcached.port }], deadlineMs: 5000 },
          token: { ...base.caching.token, timeMs: factsTimeMs, refreshAhead: 1 },
        },
      }),
    });
    const client = connect({ address: sidecar.socket ?? '', timeoutMs: 30_000 });
    let running = true;
    const stop = async (): Promise<void> => {
      if (!running) return;
      running = false;
      client.close();
      await sidecar.stop();
    };
    ends.push(stop);
    return { sidecar, client, stop };
  }

  const anyPort = { host: '127.0.0.1', port: 0 };

  it('are what they are said to be', () => {
    expect([pki.length, federated.length]).toEqual([19_944, 311]);
    expect(withoutCatalog(bodies.get(pki) ?? '').length).toBeLessThan(1000);
    expect(JSON.parse(bodies.get(pki) ?? '').token.catalog.length).toBeGreaterThan(10);
  });

  describe.each([
    ['a PKI token with its catalog', pki],
    ['a federated token', federated],
  ])('%s', (_, token) => {
    const handle = createHash('sha256').update(token).digest('hex');
    const body = bodies.get(token) ?? '';
    const userId: string = JSON.parse(body).token.user.id;
    const projectId: string | undefined = JSON.parse(body).token.project?.id;

    it('is asked about whole, and answered from memory from then on, also in another spelling of white space', async () => {
      const { client, sidecar } = await start();
      const first = activeOf(await client.validate(token, { include: { claims: true, catalog: true } }));
      const rest = [await client.validate(token), await client.validate(token), await client.validate(` ${token}\n`)];
      expect([first.provenance, first.token.user?.id, first.token.catalog?.length]).toEqual([
        'authority',
        userId,
        JSON.parse(body).token.catalog?.length,
      ]);
      expect(`{"token": ${first.token.claimsJson}}`).toBe(withoutCatalog(body));
      expect(rest.map((answer) => [activeOf(answer).provenance, answer.fingerprint])).toEqual(
        rest.map(() => ['memory', first.fingerprint]),
      );
      expect(asked().map(({ headers }) => headers['x-subject-token'])).toEqual([token]);
      expect((await sidecar.everything()).includes(token)).toBe(false);
    });

    it('is kept by a near cache, until it is revoked', async () => {
      const { client } = await start();
      const near = client.nearCache();
      await vi.waitFor(() => expect(near.stats().proven).toBe(true), { timeout: 10_000 });
      const answers = [await near.validate(token), await near.validate(token), near.peek(token)];
      expect(answers.map((answer) => activeOf(answer).fingerprint)).toEqual(answers.map(() => answers[0]?.fingerprint));
      expect(near.stats()).toMatchObject({ entries: 1, hits: 2, asked: 1 });
      await client.revoke({ token });
      await vi.waitFor(() => expect(near.peek(token)).toBe(undefined), { timeout: 10_000 });
      expect(await near.validate(token)).toMatchObject({ active: false, reason: 'REVOKED' });
    });

    it('is known to a second sidecar, and found there by its user', async () => {
      // All of them before: what was fetched before its journal was born a sidecar does not take.
      const [one, other, third] = await Promise.all([start(), start(), start()]);
      const first = activeOf(await one.client.validate(token, { include: { catalog: true, claims: true } }));
      const second = activeOf(await other.client.validate(token, { include: { catalog: true, claims: true } }));
      expect([second.provenance, second.token]).toEqual(['shared', first.token]);
      const target = { userId, ...(projectId !== undefined && { projectId }) };
      const found = activeOf(await third.client.findToken(target, { include: { handle: true } }));
      expect([found.fingerprint, found.handle]).toEqual([first.fingerprint, handle]);
      expect(asked()).toHaveLength(1);
    });

    it('has a handle, by which a second sidecar knows it, and asks when its facts are over', async () => {
      let elapsedMs = 0;
      const [one, other] = await Promise.all([start(), start({ elapsedMs: () => elapsedMs })]);
      const first = activeOf(await one.client.validate(token, { include: { handle: true } }));
      expect(first.handle).toBe(handle);
      expect(activeOf(await other.client.validate({ handle })).provenance).toBe('shared');
      expect(asked()).toHaveLength(1);
      const again = await other.client.validate({ handle }, { maxStalenessMs: 0 });
      expect([activeOf(again).provenance, asked().at(-1)?.headers['x-subject-token']]).toEqual(['authority', token]);
      revoked.add(token);
      elapsedMs = factsTimeMs;
      expect(await other.client.validate({ handle }, { maxStalenessMs: 0 })).toMatchObject({ active: false, reason: 'REFUSED' });
    });

    it('is said by the Keystone face in Keystone’s own bytes and headers, however long', async () => {
      const { sidecar, client } = await start();
      // A service that validates its own token shows it twice.
      const headers = { 'x-auth-token': token, 'x-subject-token': token };
      for (const query of ['', '?nocatalog', '']) {
        const [ours, theirs] = await Promise.all(
          [`http://${sidecar.keystone}`, keystone.url].map((origin) => http(`${origin}/v3/auth/tokens${query}`, headers)),
        );
        expect([ours?.status, ours?.body, ours?.headers['x-subject-token']]).toEqual([200, theirs?.body, token]);
      }
      expect((await http(`http://${sidecar.keystone}/v3/auth/tokens`, { 'x-subject-token': `${token.slice(0, -1)}A` })).status).toBe(404);
      await client.revoke({ token });
      expect((await http(`http://${sidecar.keystone}/v3/auth/tokens`, headers)).status).toBe(404);
    });

    it('is introspected', async () => {
      const { sidecar, client } = await start();
      const type = { 'content-type': 'application/x-www-form-urlencoded' };
      const introspected = async (text: string) => {
        const { status, body: said } = await http(
          `http://${sidecar.introspection}/introspect`,
          type,
          String(new URLSearchParams({ token: text })),
        );
        return { status, ...JSON.parse(said) };
      };
      expect(await introspected(token)).toMatchObject({ status: 200, active: true, sub: userId, iss: 'central' });
      await client.revoke({ token });
      expect(await introspected(token)).toEqual({ status: 200, active: false });
    });

    it('is revoked by itself, and stays so over a restart, also where nobody can be asked', async () => {
      const dir = mkdtempSync(join(folder, 'journal-'));
      const first = await start({ journal: await openLevelJournal({ dir, clock: systemClock }) });
      activeOf(await first.client.validate(token));
      expect(await first.client.revoke({ token })).not.toHaveProperty('forwarding');
      expect(await first.client.validate(token)).toMatchObject({ active: false, reason: 'REVOKED' });
      await first.stop();
      await keystone.stop();
      await memcached.command('flush_all');

      const second = await start({ journal: await openLevelJournal({ dir, clock: systemClock }) });
      expect(await second.client.validate(token)).toMatchObject({ active: false, reason: 'REVOKED' });
      expect(await second.client.validate({ handle })).toMatchObject({ active: false, reason: 'REVOKED' });
      expect(filesIn(dir)).not.toContain(token.slice(0, 100));
    });

    it('is revoked by its handle at a sidecar that has never seen it, and its authority is told with the token itself', async () => {
      const [one, other] = await Promise.all([start(), start()]);
      activeOf(await one.client.validate(token));
      await vi.waitFor(async () => expect((await other.client.validate({ handle })).active).toBe(true));
      expect((await other.client.revoke({ handle }, { forward: true })).forwarding).toBe('accepted');
      expect(asked('DELETE').map(({ headers }) => [headers['x-auth-token'], headers['x-subject-token']])).toEqual([[token, token]]);
      expect(await other.client.validate(token)).toMatchObject({ active: false, reason: 'REVOKED' });
      expect(await one.client.validate(token, { maxStalenessMs: 0 })).toMatchObject({ active: false, reason: 'REFUSED' });
    });

    it('waits sealed for an authority that is away, over a restart, and arrives whole', async () => {
      const dir = mkdtempSync(join(folder, 'journal-'));
      const journal = await openLevelJournal({ dir, clock: systemClock });
      const first = await start({ journal });
      activeOf(await first.client.validate(token));
      await keystone.stop();
      expect((await first.client.revoke({ token }, { forward: true })).forwarding).toBe('pending');
      const [letter, ...more] = await journal.outbox.list();
      const record = Buffer.from(letter?.record ?? '');
      expect(more).toEqual([]);
      expect(record.length).toBeGreaterThan(token.length);
      for (const part of [token.slice(0, 40), token.slice(-40)]) expect(record.includes(part)).toBe(false);
      await first.stop();
      for (const part of [token.slice(0, 40), token.slice(-40)]) expect(filesIn(dir)).not.toContain(part);

      await keystone.resume();
      const second = await start({ journal: await openLevelJournal({ dir, clock: systemClock }) });
      await vi.waitFor(async () => expect((await second.client.status()).upstreamOutboxCount).toBe(0), { timeout: 20_000, interval: 50 });
      expect(asked('DELETE').map(({ headers }) => headers['x-subject-token'])).toEqual([token]);
      expect(await second.client.validate(token)).toMatchObject({ active: false, reason: 'REVOKED' });
    });

    it('is read by the command line from standard input, and never printed', async () => {
      const { sidecar, client } = await start();
      const env = { SIDEGATE_ADDRESS: sidecar.socket ?? '' };
      const told = await sidegate(['validate', '--json', '--claims'], { stdin: `${token}\n`, env });
      expect(told).toMatchObject({ code: 0, stderr: '' });
      const revoking = await sidegate(['revoke', '-'], { stdin: `${token}\n`, env });
      expect(revoking).toMatchObject({ code: 0 });
      const after = await sidegate(['validate', '-'], { stdin: token, env });
      expect([after.code, after.stdout.slice(0, 16)]).toEqual([1, 'inactive REVOKED']);
      expect([told, revoking, after].some(({ stdout, stderr }) => `${stdout}${stderr}`.includes(token.slice(0, 60)))).toBe(false);
      expect(await client.validate(token)).toMatchObject({ active: false, reason: 'REVOKED' });
    });
  });

  it('the handle of a PKI token is what Keystone’s own code makes its short id', async () => {
    const { client } = await start();
    expect(activeOf(await client.validate(pki, { include: { handle: true } })).handle).toBe(vectors.pki.short_id);
  });
});

/** Everything on disk, as text. */
function filesIn(dir: string): string {
  return readdirSync(dir)
    .map((name) => readFileSync(join(dir, name), 'latin1'))
    .join('\n');
}
