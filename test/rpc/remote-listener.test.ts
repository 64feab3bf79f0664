// Callers from other hosts, over real TLS: who is let in, who may what, and what ends a connection.

import { once } from 'node:events';
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Server } from '@grpc/grpc-js';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Client, type ConnectOptions, connect, NoAnswerError } from '../../src/client/index.ts';
import { readListenPem } from '../../src/config/listen-tls.ts';
import { secretFile } from '../../src/config/secrets.ts';
import type { CallerRule, RemoteConfig } from '../../src/config/types.ts';
import { listenRemotely, type RemoteLimits } from '../../src/rpc/remote-listener.ts';
import { systemClock } from '../../src/sidecar.ts';
import { type CertificateFiles, callerPair, certificateFiles, createCa, type Pair, pairOf, serverPair } from '../fakes/certificates.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
import type { AlternativeName, Certified } from '../fakes/pki.ts';
import { type SidecarPlan, startSidecar, type TestSidecar } from '../fakes/sidecar.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

const responder = 'spiffe://example.org/ns/security/sa/responder';
const callers: readonly CallerRule[] = [
  { who: { kind: 'local' }, may: ['validate', 'watch', 'status'] },
  { who: { kind: 'socket' }, may: ['revoke', 'refresh', 'find', 'details'] },
  { who: { kind: 'token-role', role: 'admin', issuer: 'central' }, may: ['find'] },
  { who: { kind: 'spiffe-id', id: responder }, may: ['revoke', 'refresh', 'find', 'details'] },
  { who: { kind: 'certificate-name', name: 'nova-api.example.org' }, may: ['validate', 'watch'] },
  { who: { kind: 'certificate-name', name: 'probe.example.org' }, may: ['status'] },
];

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

interface Stage {
  readonly ca: Certified;
  readonly files: CertificateFiles;
  readonly sidecar: TestSidecar;
  /** With a certificate of `ca`, or another one. */
  client(pair: Pair | undefined, options?: ConnectOptions): Client;
  named(...names: readonly AlternativeName[]): Client;
}

async function start(plan: SidecarPlan = {}): Promise<Stage> {
  const ca = createCa();
  const files = certificateFiles(ca);
  ends.push(() => files.remove());
  const central = createFakeIssuer();
  const issuedAtMs = Math.floor(Date.now() / 1000) * 1000 - 60_000;
  const life = { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000 };
  const admin = { ...life, user: { id: 'u1', name: 'ann' }, roles: [{ id: 'r', name: 'admin' }] };
  central.knows('tok-admin', { identity: 'a', token: admin });
  central.knows('tok-alice', { identity: 'b', token: { ...life, user: { id: 'alice' } } });
  const sidecar = await startSidecar({
    fakes: [central],
    callers,
    config: (base) => ({ ...base, listen: { ...base.listen, remote: files.remote } }),
    ...plan,
  });
  ends.push(() => sidecar.stop());
  const client: Stage['client'] = (pair, options) => {
    const made = connect({ address: sidecar.remote ?? '', tls: { ca: ca.pem, ...pair }, ...options });
    ends.push(() => made.close());
    return made;
  };
  return { ca, files, sidecar, client, named: (...names) => client(callerPair(ca, ...names)) };
}

/** `done`, or the error's code and reason. */
async function outcome(run: Promise<unknown>): Promise<string> {
  try {
    await run;
    return 'done';
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    return `${error.code} ${error.reason}`;
  }
}

const acts: Readonly<Record<string, (client: Client) => Promise<unknown>>> = {
  validate: (client) => client.validate('tok-alice'),
  details: (client) => client.validate('tok-alice', { include: { details: true } }),
  watch: async (client) => {
    for await (const event of client.watch()) return event;
    return undefined;
  },
  status: (client) => client.status(),
  revoke: (client) => client.revoke({ selector: { issuer: 'central', userId: 'bob' } }),
  refresh: (client) => client.refresh({ issuer: 'central', userId: 'bob' }),
  find: (client) => client.findToken({ issuer: 'central', userId: 'alice' }),
  possession: (client) => client.revoke({ token: 'tok-bob' }),
};

const denied = 'PERMISSION_DENIED CALLER_NOT_ALLOWED';
const all = Object.keys(acts);

describe('who may what', () => {
  it.each<{ readonly who: string; readonly names: readonly AlternativeName[]; readonly may: readonly string[] }>([
    { who: 'the SPIFFE ID of a line', names: [['uri', responder]], may: ['revoke', 'refresh', 'find'] },
    { who: 'a DNS name of a line, in any case', names: [['dns', 'Nova-API.example.org']], may: ['validate', 'watch'] },
    {
      who: 'two names of two lines: the union',
      names: [
        ['dns', 'probe.example.org'],
        ['dns', 'nova-api.example.org'],
      ],
      may: ['validate', 'watch', 'status'],
    },
    {
      who: 'a SPIFFE ID and a DNS name of two lines: the union',
      names: [
        ['dns', 'nova-api.example.org'],
        ['uri', responder],
      ],
      may: ['validate', 'details', 'watch', 'revoke', 'refresh', 'find'],
    },
    { who: 'a name that no line names', names: [['dns', 'other.example.org']], may: [] },
    { who: 'no name at all', names: [], may: [] },
    { who: 'a wildcard over a name', names: [['dns', '*.example.org']], may: [] },
    { who: 'a SPIFFE ID below that of a line', names: [['uri', `${responder}/x`]], may: [] },
    { who: 'a SPIFFE ID in another spelling', names: [['uri', responder.replace('example.org', 'EXAMPLE.org')]], may: [] },
    {
      who: 'a second URI beside that of a line: it is no SVID',
      names: [
        ['uri', responder],
        ['uri', 'spiffe://example.org/ns/other'],
      ],
      may: [],
    },
    { who: 'the name of a line as another kind of name', names: [['email', 'nova-api.example.org']], may: [] },
    { who: 'a name that looks like two in a list', names: [['dns', 'x, DNS:nova-api.example.org']], may: [] },
    {
      who: 'a name that looks like two in a URI',
      names: [['uri', 'https://x, URI:spiffe://example.org/ns/security/sa/responder']],
      may: [],
    },
    { who: 'more names than anybody has', names: many(65, 'nova-api.example.org'), may: [] },
    { who: 'as many names as somebody may have', names: many(64, 'nova-api.example.org'), may: ['validate', 'watch'] },
    {
      who: 'a very long name beside that of a line',
      names: [
        ['dns', 'x'.repeat(60_000)],
        ['dns', 'probe.example.org'],
      ],
      may: ['status'],
    },
  ])('$who', async ({ names, may }) => {
    const { named } = await start();
    const client = named(...names);
    const found: Record<string, string> = {};
    for (const [act, run] of Object.entries(acts)) found[act] = await outcome(run(client));
    const expected = all.map((act) => [act, act === 'possession' || may.includes(act) ? 'done' : denied]);
    expect(found).toEqual(Object.fromEntries(expected));
  });

  it('a common name is no name', async () => {
    const { ca, client } = await start();
    expect(await outcome(client(pairOf(ca, { common: 'nova-api.example.org' })).validate('tok-alice'))).toBe(denied);
  });

  it('a bearer token with a role gives what its line gives, and both are written down', async () => {
    const { ca, client, sidecar } = await start();
    const made = client(callerPair(ca, ['dns', 'other.example.org']), { callerToken: 'tok-admin' });
    expect(await outcome(made.findToken({ issuer: 'central', userId: 'alice' }))).toBe('done');
    expect(await outcome(made.status())).toBe(denied);
    expect(sidecar.audits()[0]).toMatchObject({
      act: 'find',
      actor: expect.stringMatching(/^ann@central \([0-9a-f]{32}\) through other.example.org$/),
    });
  });

  it('what others may locally stays as it was', async () => {
    const { sidecar } = await start();
    expect((await sidecar.validate({ token: 'tok-alice' }, { over: 'tcp' })).response?.active).toBe(true);
    expect((await sidecar.getStatus({ over: 'tcp' })).status).toBe('OK');
    expect((await sidecar.refresh({ selector: { userId: 'x', issuer: 'central' } }, { over: 'tcp' })).status).toBe('UNAUTHENTICATED');
  });
});

function many(count: number, last: string): readonly AlternativeName[] {
  return Array.from({ length: count }, (_, index) => ['dns', index === count - 1 ? last : `n${index}.example.net`] as const);
}

describe('what is written down', () => {
  it('names the caller by its certificate: in the audit, in the entry, and in refusals', async () => {
    const { named, sidecar, ca, client } = await start();
    const { entryId } = await named(['uri', responder]).revoke(
      { selector: { issuer: 'central', userId: 'bob' } },
      { reason: 'incident 7' },
    );
    await named(['dns', 'other.example.org']).revoke({ token: 'tok-x' });
    await outcome(client(pairOf(ca)).status());
    expect(sidecar.audits().map(({ act, actor, outcome: came }) => [act, actor, came])).toEqual([
      ['revoke', responder, 'done'],
      ['revoke', 'other.example.org', 'done'],
      ['refused', expect.stringMatching(/^certificate [0-9a-f]{64}$/), 'status: CALLER_NOT_ALLOWED'],
    ]);
    expect(entryId).toMatch(/^[0-9a-f]{40}$/);
  });

  it('a retry with a renewed certificate is the same revocation, and another caller’s request id is another', async () => {
    const { named } = await start();
    const bob = { selector: { issuer: 'central', userId: 'bob' } } as const;
    const first = await named(['uri', responder]).revoke(bob, { requestId: 'r1' });
    const again = await named(['uri', responder]).revoke(bob, { requestId: 'r1' });
    const other = await named(['dns', 'a.example.org']).revoke({ token: 'tok-z' }, { requestId: 'r1' });
    expect(again.entryId).toBe(first.entryId);
    expect(other.entryId).not.toBe(first.entryId);
  });
});

describe('who is let in', () => {
  it.each<{ readonly who: string; readonly pair: (ca: Certified) => Pair | undefined; readonly reason: string; readonly last: string }>([
    {
      who: 'nobody without a certificate',
      pair: () => undefined,
      reason: 'TLS_CERTIFICATE_REQUIRED',
      last: 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE',
    },
    {
      who: 'nobody of another authority',
      pair: () => callerPair(createCa('other CA'), ['uri', responder]),
      reason: 'CONNECTION_REFUSED_EARLY',
      last: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    },
    {
      who: 'nobody of an authority that only has the same name',
      pair: () => callerPair(createCa(), ['uri', responder]),
      reason: 'CONNECTION_REFUSED_EARLY',
      last: 'CERT_SIGNATURE_FAILURE',
    },
    {
      who: 'nobody whose certificate has expired',
      pair: (ca) => pairOf(ca, { names: [['uri', responder]], notBeforeMs: Date.now() - 7_200_000, notAfterMs: Date.now() - 2000 }),
      reason: 'CONNECTION_REFUSED_EARLY',
      last: 'CERT_HAS_EXPIRED',
    },
    {
      who: 'nobody whose certificate is not yet good',
      pair: (ca) => pairOf(ca, { names: [['uri', responder]], notBeforeMs: Date.now() + 60_000 }),
      reason: 'CONNECTION_REFUSED_EARLY',
      last: 'CERT_NOT_YET_VALID',
    },
    {
      who: 'nobody whose certificate is for servers',
      pair: (ca) => pairOf(ca, { names: [['uri', responder]], usage: 'server' }),
      reason: 'CONNECTION_REFUSED_EARLY',
      last: 'INVALID_PURPOSE',
    },
  ])('$who', async ({ pair, reason, last }) => {
    const { ca, client, sidecar } = await start();
    expect(await outcome(client(pair(ca)).revoke({ token: 'tok-x' }))).toBe(`UNAVAILABLE ${reason}`);
    expect(sidecar.audits()).toEqual([]);
    expect(sidecar.lines().filter(({ message }) => message === 'the remote listener has refused connections')).toMatchObject([
      { refused: 1, last },
    ]);
  });

  it('nobody without TLS', async () => {
    const { sidecar } = await start();
    const bare = connect({ address: sidecar.remote ?? '' });
    ends.push(() => bare.close());
    expect(await outcome(bare.status())).toBe('UNAVAILABLE CONNECTION_REFUSED_EARLY');
  });

  it('nobody who speaks another protocol over TLS', async () => {
    const { sidecar, ca } = await start();
    const closed = new Promise<void>((resolve) => {
      const port = Number(sidecar.remote?.split(':')[1]);
      const socket = connectTls({ host: '127.0.0.1', port, ca: ca.pem, ...callerPair(ca, ['uri', responder]) });
      socket.on('error', () => undefined).once('close', () => resolve());
    });
    await closed;
  });
});

describe('a session', () => {
  it.each(['TLSv1.2', 'TLSv1.3'] as const)('is never taken up again, as it would not be verified again: %s', async (version) => {
    const { sidecar, ca } = await start();
    const port = Number(sidecar.remote?.split(':')[1]);
    const own = callerPair(ca, ['uri', responder]);
    const dial = async (session: Buffer | undefined) => {
      const same = { minVersion: version, maxVersion: version, ...(session && { session }) } as const;
      const socket = connectTls({ host: '127.0.0.1', port, ca: ca.pem, ...own, ALPNProtocols: ['h2'], ...same });
      ends.push(() => socket.destroy());
      let last: Buffer | undefined;
      socket.on('session', (one) => {
        last = one;
      });
      socket.once('secureConnect', () => socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'));
      // The sidecar's first words come after its tickets.
      await once(socket, 'data');
      const reused = socket.isSessionReused();
      socket.destroy();
      return { reused, session: last ?? socket.getSession() };
    };
    const first = await dial(undefined);
    expect((await dial(first.session)).reused).toBe(false);
  });
});

describe('whom a client believes', () => {
  it.each<{ readonly what: string; readonly tls: (ca: Certified) => ConnectOptions['tls']; readonly comes: RegExp }>([
    {
      what: 'a certificate of another authority',
      tls: () => ({ ca: createCa('other CA').pem }),
      comes: /^UNAVAILABLE TLS_UNKNOWN_AUTHORITY$/,
    },
    { what: 'a certificate of nobody it was told of', tls: () => ({}), comes: /^UNAVAILABLE TLS_UNKNOWN_AUTHORITY$/ },
    {
      what: 'a certificate of another name',
      tls: (ca) => ({ ca: ca.pem, serverName: 'else.example' }),
      comes: /^UNAVAILABLE TLS_NAME_MISMATCH$/,
    },
    {
      what: 'a certificate of another address',
      tls: (ca) => ({ ca: ca.pem, serverName: '127.0.0.2' }),
      comes: /^UNAVAILABLE TLS_NAME_MISMATCH$/,
    },
    { what: 'a certificate with the name it was told', tls: (ca) => ({ ca: ca.pem, serverName: 'sidegate.example' }), comes: /^done$/ },
  ])('$what', async ({ tls, comes }) => {
    const { ca, client } = await start();
    const pair = callerPair(ca, ['dns', 'nova-api.example.org']);
    expect(await outcome(client(pair, { tls: { ...pair, ...tls(ca) } }).validate('tok-alice'))).toMatch(comes);
  });
});

describe('what ends a connection', () => {
  it('new connections see the new certificate, and those that stand go on', async () => {
    const { ca, files, client, named, sidecar } = await start();
    const standing = named(['dns', 'nova-api.example.org']);
    const stop = new AbortController();
    const events: string[] = [];
    const watching = (async () => {
      for await (const event of standing.watch({ signal: stop.signal, checkpointIntervalMs: 100 })) events.push(event.kind);
    })();
    const renewed = createCa('next CA');
    files.putServer(serverPair(renewed));
    const pair = callerPair(ca, ['dns', 'nova-api.example.org']);
    await vi.waitFor(
      async () => expect(await outcome(client(pair, { tls: { ...pair, ca: renewed.pem } }).validate('tok-alice'))).toBe('done'),
      { timeout: 10_000, interval: 200 },
    );
    const seen = events.length;
    await vi.waitFor(() => expect(events.length).toBeGreaterThan(seen));
    expect(events).not.toContain('disconnected');
    expect(await outcome(client(pair).validate('tok-alice'))).toBe('UNAVAILABLE TLS_UNKNOWN_AUTHORITY');
    stop.abort();
    await watching;
    expect(sidecar.lines().filter(({ message }) => message === 'the remote listener uses new certificates')).toHaveLength(1);
  });

  it('whom a new CA does not vouch for is gone within its grace, whom it does connects anew', async () => {
    const next = createCa('next CA');
    const { ca, files, client, sidecar } = await start();
    const old = client(callerPair(ca, ['dns', 'nova-api.example.org']));
    let pair = callerPair(ca, ['dns', 'nova-api.example.org']);
    const moving = client(undefined, { tls: { ca: ca.pem, cert: () => pair.cert, key: () => pair.key } });
    const kinds: Record<'old' | 'moving', string[]> = { old: [], moving: [] };
    const stop = new AbortController();
    const watching = (['old', 'moving'] as const).map(async (name) => {
      const who = { old, moving }[name];
      for await (const event of who.watch({ signal: stop.signal, checkpointIntervalMs: 100 })) kinds[name].push(event.kind);
    });
    await vi.waitFor(() => expect([kinds.old, kinds.moving].every((it) => it.includes('checkpoint'))).toBe(true));
    pair = callerPair(next, ['dns', 'nova-api.example.org']);
    files.put('ca.crt', next.pem);
    await vi.waitFor(() => expect(kinds.old).toContain('disconnected'), { timeout: 15_000 });
    await vi.waitFor(() => expect(kinds.moving.slice(kinds.moving.indexOf('disconnected'))).toContain('checkpoint'), { timeout: 15_000 });
    expect(kinds.old.slice(kinds.old.indexOf('disconnected'))).not.toContain('checkpoint');
    expect(await outcome(old.validate('tok-alice'))).toMatch(/^UNAVAILABLE /);
    stop.abort();
    await Promise.all(watching);
    expect(sidecar.lines().filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('files that do not fit together change nothing, and are said once', async () => {
    const { ca, files, named, sidecar } = await start();
    files.put('tls.key', serverPair(ca).key);
    const complaints = () =>
      sidecar.lines().filter(({ message }) => String(message).startsWith('the remote listener keeps its certificates'));
    await vi.waitFor(() => expect(complaints()).toHaveLength(1), { timeout: 10_000 });
    files.put('ca.crt', 'no certificate');
    await vi.waitFor(() => expect(complaints()).toHaveLength(2), { timeout: 10_000 });
    expect(await outcome(named(['dns', 'nova-api.example.org']).validate('tok-alice'))).toBe('done');
    expect(JSON.stringify(complaints())).not.toContain('PRIVATE KEY');
  });

  it('a connection ends with its certificate, and so does a Watch; before that no call is served', async () => {
    let aheadMs = 0;
    const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs };
    const { named, ca, client } = await start({ clock });
    const short = named(['dns', 'nova-api.example.org']);
    const long = client(pairOf(ca, { names: [['dns', 'nova-api.example.org']], notAfterMs: Date.now() + 7_200_000 }));
    const stop = new AbortController();
    const kinds: Record<'short' | 'long', string[]> = { short: [], long: [] };
    const watching = (['short', 'long'] as const).map(async (name) => {
      const who = { short, long }[name];
      for await (const event of who.watch({ signal: stop.signal, checkpointIntervalMs: 100 })) kinds[name].push(event.kind);
    });
    await vi.waitFor(() => expect([kinds.short, kinds.long].every((it) => it.includes('checkpoint'))).toBe(true));
    // Node verifies by the system's clock, and lets it in again; the sidecar goes by its own, and cuts it at its next look.
    aheadMs = 3_605_000;
    for (const run of [short.validate('tok-alice'), short.revoke({ token: 'tok-x' })]) {
      expect(await outcome(run)).toMatch(/^UNAVAILABLE /);
    }
    await vi.waitFor(() => expect(kinds.short).toContain('disconnected'), { timeout: 10_000 });
    expect(kinds.long).not.toContain('disconnected');
    stop.abort();
    await Promise.all(watching);
  });
});

describe('what else goes over it', () => {
  it('a near cache: proven, and told of a revocation', async () => {
    const { named, sidecar } = await start();
    const near = named(['dns', 'nova-api.example.org']).nearCache();
    await vi.waitFor(() => expect(near.stats().proven).toBe(true), { timeout: 10_000 });
    expect((await near.validate('tok-alice')).active).toBe(true);
    expect(near.peek('tok-alice')?.active).toBe(true);
    await sidecar.revoke({ target: { $case: 'token', value: 'tok-alice' } });
    await vi.waitFor(() => expect(near.peek('tok-alice')).toBe(undefined), { timeout: 10_000 });
    expect((await near.validate('tok-alice')).active).toBe(false);
  });

  it('made-up tokens: one caller spends what it may, and no other one’s', async () => {
    const { named, sidecar } = await start();
    const spender = named(['dns', 'a.example.org']);
    const outcomes: string[] = [];
    for (let index = 0; index < 15; index += 1) outcomes.push(await outcome(spender.revoke({ token: `tok-made-up-${index}` })));
    expect(outcomes).toContain('RESOURCE_EXHAUSTED TOO_MANY_UNVERIFIED');
    expect(await outcome(named(['dns', 'b.example.org']).revoke({ token: 'tok-other' }))).toBe('done');
    expect((await sidecar.revoke({ target: { $case: 'token', value: 'tok-third' } })).status).toBe('OK');
  });

  it('a drain ends its streams and lets nobody new in', async () => {
    const { named, sidecar } = await start();
    const client = named(['dns', 'nova-api.example.org']);
    const kinds: string[] = [];
    const stop = new AbortController();
    const watching = (async () => {
      for await (const event of client.watch({ signal: stop.signal, checkpointIntervalMs: 100 })) kinds.push(event.kind);
    })();
    await vi.waitFor(() => expect(kinds).toContain('checkpoint'));
    sidecar.drain();
    await vi.waitFor(() => expect(kinds).toContain('disconnected'));
    await sidecar.stopped;
    expect(await outcome(client.validate('tok-alice', { timeoutMs: 1000 }))).toMatch(/^(UNAVAILABLE|DEADLINE_EXCEEDED) /);
    stop.abort();
    await watching;
  });
});

describe('what a stranger may take up', () => {
  async function listening(limits: Partial<RemoteLimits>) {
    const ca = createCa();
    const files = certificateFiles(ca);
    const server = new Server();
    const usual: RemoteLimits = { handshakeMs: 60_000, connections: 100, lookMs: 60_000, graceMs: 1000 };
    const { log } = createFakeTelemetry();
    const read = () => readListenPem(files.remote.tls);
    const listener = await listenRemotely(
      server,
      { kind: 'remote', host: '127.0.0.1', port: 0, read },
      { clock: systemClock, log },
      { ...usual, ...limits },
    );
    ends.push(() => {
      listener.drain(0);
      server.forceShutdown();
      files.remove();
    });
    const dial = (): { readonly socket: Socket; readonly closed: Promise<void> } => {
      const socket = connectTcp({ host: '127.0.0.1', port: listener.port });
      socket.on('error', () => undefined).resume();
      ends.push(() => socket.destroy());
      return { socket, closed: new Promise((resolve) => socket.once('close', () => resolve())) };
    };
    return { dial };
  }

  it('a handshake that does not go on ends at its limit', async () => {
    const { dial } = await listening({ handshakeMs: 100 });
    const startedMs = performance.now();
    await dial().closed;
    expect(performance.now() - startedMs).toBeGreaterThan(90);
  });

  it('as many connections as may be are open at once, and one more is closed; where one has gone another may come', async () => {
    const { dial } = await listening({ connections: 2 });
    const [first, second] = [dial(), dial()];
    await Promise.all([first, second].map(({ socket }) => once(socket, 'connect')));
    await dial().closed;
    expect([first.socket.closed, second.socket.closed]).toEqual([false, false]);
    first.socket.destroy();
    await vi.waitFor(async () => {
      const { socket, closed } = dial();
      await once(socket, 'connect');
      expect(await Promise.race([closed.then(() => 'closed'), new Promise((resolve) => setTimeout(resolve, 200, 'open'))])).toBe('open');
    });
  });
});

describe('a listener that cannot be had', () => {
  it.each<[string, (files: CertificateFiles) => RemoteConfig | Promise<RemoteConfig>, object]>([
    [
      'as its port is taken',
      async ({ remote }) => {
        const taken = createTcpServer();
        await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
        ends.push(() => taken.close());
        return { ...remote, address: { host: '127.0.0.1', port: (taken.address() as AddressInfo).port } };
      },
      {
        code: 'FAILED_PRECONDITION',
        reason: 'CANNOT_LISTEN',
        message: expect.stringMatching(/^cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/),
      },
    ],
    [
      'as its key is another one',
      ({ remote, put }) => {
        put('tls.key', serverPair(createCa()).key);
        return remote;
      },
      {
        code: 'FAILED_PRECONDITION',
        reason: 'LISTEN_TLS',
        message: 'listen.remote.tls.key_file must hold the key of the first certificate in cert_file',
      },
    ],
    [
      'as a file is not there',
      ({ remote }) => ({ ...remote, tls: { ...remote.tls, clientCaFile: secretFile('/nowhere/ca.crt') } }),
      { code: 'UNAVAILABLE', reason: 'SECRET_UNREADABLE', message: expect.stringContaining('/nowhere/ca.crt') },
    ],
  ])('refuses the start in words: %s', async (_, remoteOf, error) => {
    const files = certificateFiles(createCa());
    ends.push(() => files.remove());
    const remote = await remoteOf(files);
    await expect(startSidecar({ config: (base) => ({ ...base, listen: { ...base.listen, remote } }) })).rejects.toMatchObject(error);
  });
});
