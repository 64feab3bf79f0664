// The rules between settings, each with what it says.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { type LoadResult, loadConfig } from '../../src/config/load.ts';

const dir = mkdtempSync(join(tmpdir(), 'sidegate-rules-'));
writeFileSync(join(dir, 'secret'), 'x');
mkdirSync(join(dir, 'keys'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const login = { application_credential: { id: 'a', secret_file: 'secret' } };
const auth = { client_secret_basic: { client_id: 'a', secret_file: 'secret' } };
const keystone = { name: 'central', kind: 'keystone', url: 'https://k.example/v3', login, max_token_life: '24h' };
const jwt = { name: 'corp', kind: 'jwt', issuer: 'https://i.example', algorithms: ['ES256'], max_token_life: '1h' };
const partner = { name: 'partner', kind: 'introspection', url: 'https://p.example', auth, max_token_life: '1h' };

const textOf = (document: object): string => stringify({ issuers: [keystone], ...document }, { aliasDuplicateObjects: false });
const load = (document: object, purpose: 'serve' | 'dev' = 'serve'): LoadResult =>
  loadConfig({ text: textOf(document), env: {}, baseDir: dir, purpose });

/** `field: message` of each problem. */
const said = (result: LoadResult): readonly string[] =>
  (result.ok ? [] : result.problems).map(({ field, message }) => `${field}: ${message}`);

/** The field of each warning. */
const warned = (result: LoadResult): readonly string[] => (result.ok ? result.warnings.map(({ field }) => field) : ['it was refused']);

describe('issuers', () => {
  it('of all kinds stand beside each other', () => {
    expect(said(load({ issuers: [keystone, jwt, partner] }))).toEqual([]);
  });

  it.each<[string, readonly object[], string]>([
    ['one name', [keystone, { ...jwt, name: 'central' }], 'issuers[1].name: must not be that of issuers[0]'],
    [
      'one `iss`',
      [jwt, keystone, { ...jwt, name: 'other' }],
      'issuers[2].issuer: must not be that of issuers[0]: a token must have one issuer',
    ],
    [
      'one shape without a prefix',
      [keystone, { ...keystone, name: 'b', accepts: ['uuid', 'opaque'] }],
      'issuers[1].accepts: (uuid) must not be accepted under the same prefix as by issuers[0]: a token must have one issuer',
    ],
    [
      'one shape under one prefix',
      [
        { ...partner, prefix: 'p_' },
        { ...partner, name: 'b', prefix: 'p_' },
      ],
      'issuers[1].prefix: (opaque) must not be accepted under the same prefix as by issuers[0]: a token must have one issuer',
    ],
    [
      'opaque beside opaque',
      [{ ...keystone, accepts: ['opaque'] }, partner],
      'issuers[1].accepts: (opaque) must not be accepted under the same prefix as by issuers[0]: a token must have one issuer',
    ],
  ])('that would get the same token by %s are refused', (_, issuers, message) => {
    expect(said(load({ issuers }))).toEqual([message]);
  });

  it.each<[string, readonly object[]]>([
    [
      'one prefix begins with the other',
      [
        { ...partner, prefix: 'p_' },
        { ...partner, name: 'b', prefix: 'p_q_' },
      ],
    ],
    ['one has a prefix and the other has none', [partner, { ...partner, name: 'b', prefix: 'p_' }]],
    ['a specific shape stands beside opaque', [{ ...keystone, accepts: ['uuid'] }, partner]],
    ['their JWT issuers differ', [jwt, { ...jwt, name: 'b', issuer: 'https://other.example' }]],
  ])('are told apart where %s', (_, issuers) => {
    expect(said(load({ issuers }))).toEqual([]);
  });

  it('are judged among each other although one between them cannot be read', () => {
    const messages = said(load({ issuers: [keystone, { name: 'b', kind: 'keystone' }, { ...jwt, name: 'central' }] }));
    expect(messages).toContain('issuers[2].name: must not be that of issuers[0]');
    expect(messages).toContain('issuers[1].login: is missing: it must hold settings of its own');
  });

  it('need a URL as their name where keys are to be discovered', () => {
    expect(said(load({ issuers: [{ ...jwt, issuer: 'corp' }] }))).toEqual([
      'issuers[0].issuer: must be an http(s) URL for its keys to be discovered; or set keys',
    ]);
    expect(said(load({ issuers: [{ ...jwt, issuer: 'corp', keys: { file: 'secret' } }] }))).toEqual([]);
  });

  it.each(['https://', 'https://a b', 'http://[::1'])('are not discovered at %s', (issuer) => {
    expect(said(load({ issuers: [{ ...jwt, issuer }] }))).toEqual([
      'issuers[0].issuer: must be an http(s) URL for its keys to be discovered; or set keys',
    ]);
  });

  it.each([
    'secevent+jwt',
    'logout+jwt',
    'dpop+jwt',
    'Logout+JWT',
    'application/secevent+jwt',
    'APPLICATION/DPOP+JWT',
    'application/',
    '',
    'x'.repeat(256),
  ])('may not take %.30j for an access token', (type) => {
    const document = { issuers: [keystone, { ...jwt, types: ['JWT', type] }] };
    const line =
      textOf(document)
        .split('\n')
        .findIndex((it) => it.includes('- JWT')) + 2;

    const result = load(document);

    expect(said(result)).toEqual([
      'issuers[1].types[1]: must be the type of an access token, 1 to 255 characters on one line: none of secevent+jwt, logout+jwt, dpop+jwt',
    ]);
    expect(result.ok ? [] : result.problems.map(({ line }) => line)).toEqual([line]);
  });

  it.each(['at+jwt', 'JWT', 'application/at+jwt', 'x'.repeat(255)])('may take %.30j for one', (type) => {
    expect(said(load({ issuers: [{ ...jwt, types: [type] }] }))).toEqual([]);
  });

  it('of JWTs have no attempts: their keys are fetched on a schedule', () => {
    expect(said(load({ issuers: [{ ...jwt, calls: { deadline: '1s', attempts: 2 } }] }))).toEqual([
      expect.stringMatching(/^issuers\[0\]\.calls\.attempts: is not a setting here/),
    ]);
  });

  it.each(['HS256', 'none', 'ES256K', 'RS1'])('may not be pinned to %s', (algorithm) => {
    expect(said(load({ issuers: [{ ...jwt, algorithms: ['ES256', algorithm] }] }))).toEqual([
      expect.stringMatching(/^issuers\[0\]\.algorithms\[1\]: must be one of ES256, .*EdDSA/),
    ]);
  });

  it('log in by exactly one way', () => {
    const password = { username: 'a', project: 'p', password_file: 'secret' };
    const both = said(load({ issuers: [{ ...keystone, login: { ...login, password } }] }));
    expect(both).toEqual(['issuers[0].login: must hold exactly one of application_credential, password']);
    expect(said(load({ issuers: [{ ...keystone, login: {} }] }))).toEqual(both);
    expect(said(load({ issuers: [{ ...keystone, login: { password } }] }))).toEqual([]);
  });

  it('must be there for serve, not for dev', () => {
    expect(said(load({ issuers: [] }))).toEqual(['issuers: must hold at least one issuer']);
    expect(said(load({ issuers: [] }, 'dev'))).toEqual([]);
  });

  it.each([
    ['http://k.example/v3', 1],
    ['http://127.0.0.1:5000/v3', 0],
    ['http://[::1]:5000/v3', 0],
    ['http://localhost/v3', 0],
    ['http://127.evil.example/v3', 1],
    ['https://k.example/v3', 0],
  ])('at %s give %i warnings', (url, count) => {
    const result = load({ issuers: [{ ...keystone, url }] });
    expect(result.ok && result.warnings.map(({ field }) => field)).toEqual(Array(count).fill('issuers[0].url'));
  });

  it.each(['https://u:hunter2@k.example', 'ftp://k.example', 'https://', 'k.example', 'https://k.example/#a', 'https://k.example/?a=b'])(
    'are not asked at %s',
    (url) => {
      expect(said(load({ issuers: [{ ...keystone, url }] }))).toEqual([
        'issuers[0].url: must be an https:// or http:// URL without user, password, query and fragment',
      ]);
    },
  );
});

describe('listeners', () => {
  it.each<[string, object, readonly string[]]>([
    ['neither socket nor tcp', { socket: null, tcp: null }, ['listen: must keep socket, tcp or remote: nobody could call']],
    ['the socket alone', { tcp: null }, []],
    ['tcp alone', { socket: null }, []],
    [
      'one port for two',
      { tcp: '127.0.0.1:9000', operations: '0.0.0.0:9000' },
      ['listen.operations: must have another port than listen.tcp'],
    ],
    ['port 0 for two', { tcp: '127.0.0.1:0', operations: '127.0.0.1:0' }, []],
    [
      'tcp for everybody',
      { tcp: '0.0.0.0:8471' },
      ['listen.tcp: must be a loopback address and a port, such as 127.0.0.1:8471 or "[::1]:8471"'],
    ],
    ['IPv6 loopback', { tcp: '[::1]:8471', operations: '[::]:8472' }, []],
    ['a socket path of 107 bytes', { socket: { path: `/${'s'.repeat(106)}` } }, []],
    [
      'a socket path of 108 bytes',
      { socket: { path: `/${'s'.repeat(107)}` } },
      ['listen.socket.path: must be at most 107 bytes as an absolute path: longer ones cannot be bound'],
    ],
  ])('with %s', (_, listen, messages) => {
    expect(said(load({ listen }))).toEqual(messages);
  });
});

describe('callers', () => {
  it('with a role must name an issuer that there is', () => {
    const callers = [{ who: { token_role: 'admin', issuer: 'nobody' }, may: ['revoke'] }];
    expect(said(load({ callers }))).toEqual(['callers[0].who.issuer: must be the name of one of the issuers']);
    expect(said(load({ callers: [{ who: { token_role: 'admin', issuer: 'central' }, may: ['revoke'] }] }))).toEqual([]);
  });

  it.each([
    {},
    { local: true, socket: true },
    { token_role: 'a' },
    { issuer: 'central' },
    { local: true, issuer: 'central' },
    { spiffe_id: 'spiffe://a/b', certificate_name: 'a.example' },
    { spiffe_id: 'spiffe://a/b', local: true },
    { certificate_name: 'a.example', issuer: 'central' },
  ])('are not matched by %j', (who) => {
    expect(said(load({ callers: [{ who, may: ['status'] }] }))).toEqual([
      'callers[0].who: must be { local: true }, { socket: true }, { token_role: …, issuer: … }, { spiffe_id: … } or { certificate_name: … }',
    ]);
  });

  it.each(['revoke', 'refresh', 'find', 'details', 'fleet'])('without an identity may not %s', (permission) => {
    expect(said(load({ callers: [{ who: { local: true }, may: ['status', permission] }] }))).toEqual([
      expect.stringMatching(/^callers\[0\]\.may: must not hold revoke, refresh, find, details or fleet for local callers/),
    ]);
    expect(said(load({ callers: [{ who: { socket: true }, may: ['status', permission] }] }))).toEqual([]);
  });

  it('on a socket that is off give a warning', () => {
    const result = load({ listen: { socket: null }, callers: [{ who: { socket: true }, may: ['revoke'] }] });
    expect(result.ok && result.warnings.map(({ field }) => field)).toEqual(['callers[0].who']);
  });
});

describe('the faces', () => {
  const face = (port: number) => ({ address: `127.0.0.1:${port}` });

  it.each<[string, object, readonly string[]]>([
    [
      'that of Keystone without an issuer it speaks for',
      { listen: { keystone: face(1) }, issuers: [jwt] },
      ['listen.keystone: needs an issuer of kind keystone: the face speaks for it'],
    ],
    ['that of Keystone beside its issuer', { listen: { keystone: face(1) }, issuers: [jwt, keystone] }, []],
    ['that of RFC 7662 beside any issuer', { listen: { introspection: '127.0.0.1:1' }, issuers: [jwt] }, []],
    [
      'Keystone on the port of tcp',
      { listen: { tcp: '127.0.0.1:9000', keystone: face(9000) } },
      ['listen.keystone.address: must have another port than listen.tcp'],
    ],
    [
      'Keystone on the port of operations',
      { listen: { operations: '0.0.0.0:9000', keystone: face(9000) } },
      ['listen.keystone.address: must have another port than listen.operations'],
    ],
    [
      'introspection on the port of Keystone',
      { listen: { keystone: face(9000), introspection: '[::1]:9000' } },
      ['listen.introspection: must have another port than listen.keystone.address'],
    ],
    ['introspection on the port of tcp, which is off', { listen: { tcp: null, introspection: '127.0.0.1:8471' } }, []],
    [
      'any free port for all',
      { listen: { tcp: '127.0.0.1:0', operations: '127.0.0.1:0', keystone: face(0), introspection: '127.0.0.1:0' } },
      [],
    ],
    [
      'Keystone for everybody',
      { listen: { keystone: { address: '0.0.0.0:8473' } } },
      ['listen.keystone.address: must be a loopback address and a port, such as 127.0.0.1:8471 or "[::1]:8471"'],
    ],
  ])('%s', (_, document, messages) => {
    expect(said(load(document))).toEqual(messages);
  });

  it('wait for an issuer that cannot be read: it may be the one that is missed', () => {
    expect(
      said(load({ listen: { keystone: face(1) }, issuers: [jwt, { name: 'b', kind: 'keystone' }] })).filter((it) =>
        it.startsWith('listen'),
      ),
    ).toEqual([]);
  });
});

describe('the faces and their callers', () => {
  const listen = { keystone: { address: '127.0.0.1:1' }, introspection: '127.0.0.1:2' };

  it.each<[string, object, readonly string[]]>([
    ['the defaults', {}, []],
    [
      'local callers who may validate',
      {
        callers: [
          { who: { socket: true }, may: ['find'] },
          { who: { local: true }, may: ['validate'] },
        ],
      },
      [],
    ],
    [
      'local callers who may not',
      {
        callers: [
          { who: { local: true }, may: ['watch'] },
          { who: { socket: true }, may: ['validate'] },
        ],
      },
      ['listen.keystone', 'listen.introspection'],
    ],
    ['nobody', { callers: [] }, ['listen.keystone', 'listen.introspection']],
  ])('warn where nobody could ask there: %s', (_, callers, fields) => {
    expect(warned(load({ listen, ...callers }))).toEqual(fields);
  });
});

describe('telling the authority', () => {
  const revocation = { url: 'https://i.example/revoke', auth };

  it.each([
    ['an issuer of JWTs', jwt],
    ['an introspected issuer', partner],
  ])('needs to know where for %s', (_, issuer) => {
    expect(said(load({ issuers: [{ ...issuer, revoke_upstream: true }] }))).toEqual([
      'issuers[0].revoke_upstream: needs revocation: where it is told, and who we are there',
    ]);
    expect(said(load({ issuers: [{ ...issuer, revoke_upstream: true, revocation }] }))).toEqual([]);
    expect(said(load({ issuers: [{ ...issuer, revocation }] }))).toEqual([]);
  });

  it('needs nothing more for Keystone', () => {
    expect(said(load({ issuers: [{ ...keystone, revoke_upstream: true }] }))).toEqual([]);
  });

  it.each([
    ['jwt', jwt],
    ['introspection', partner],
  ])('over http to another host gives a warning: %s', (_, issuer) => {
    const result = load({ issuers: [{ ...issuer, revocation: { ...revocation, url: 'http://i.example/revoke' } }] });
    expect(warned(result)).toEqual(['issuers[0].revocation.url']);
  });
});

describe('service tokens', () => {
  const [open, none] = [{ expired_within: '1h' }, { service_roles: [] }];

  it.each<[string, object, readonly string[]]>([
    ['that nobody can show, of Keystone', { issuers: [{ ...keystone, ...open, ...none }] }, ['issuers[0].service_roles']],
    ['that nobody can show, of an issuer of JWTs', { issuers: [{ ...jwt, ...open, ...none }] }, ['issuers[0].service_roles']],
    [
      'that nobody needs',
      {
        issuers: [
          { ...keystone, ...none, expired_within: '0s' },
          { ...jwt, ...none },
          { ...partner, ...none },
        ],
      },
      [],
    ],
    [
      'that the caller of the face judges',
      { issuers: [{ ...keystone, ...open, ...none }], listen: { keystone: { address: '127.0.0.1:1' } } },
      [],
    ],
    [
      'that nobody judges, as the face does not allow it',
      { issuers: [{ ...keystone, ...open, ...none }], listen: { keystone: { address: '127.0.0.1:1', allow_expired: false } } },
      ['issuers[0].service_roles'],
    ],
  ])('%s', (_, document, fields) => {
    expect(warned(load(document))).toEqual(fields);
  });
});

describe('the shared tier', () => {
  const tier = { servers: ['127.0.0.1:11211'] };
  const shared = (more: object, caching: object = {}): object => ({
    deployment_key_dir: 'keys',
    caching: { shared: { ...tier, ...more }, ...caching },
  });

  it.each<[string, object, readonly string[]]>([
    ['alone', shared({}), []],
    [
      'without a key that all sidecars have',
      { caching: { shared: tier } },
      ['deployment_key_dir: is needed by caching.shared: only sidecars with the same key can read what another one has stored'],
    ],
    ['of no servers', { caching: { shared: { servers: [], tls: { ca_file: 'secret' } } } }, []],
    [
      'with one server twice',
      shared({ servers: ['localhost:1', 'LocalHost:1'] }),
      ['caching.shared.servers[1]: must not be that of servers[0]'],
    ],
    ['with two ports of one host', shared({ servers: ['localhost:1', 'localhost:2'] }), []],
    [
      'with a certificate and no key',
      shared({ tls: { cert_file: 'secret' } }),
      ['caching.shared.tls.key_file: must be there: cert_file and key_file belong together'],
    ],
    [
      'with a key and no certificate',
      shared({ tls: { key_file: 'secret' } }),
      ['caching.shared.tls.cert_file: must be there: cert_file and key_file belong together'],
    ],
    ['with both', shared({ tls: { cert_file: 'secret', key_file: 'secret' } }), []],
    [
      'that is waited for as long as the authority',
      { ...shared({ deadline: '1s' }), issuers: [jwt, { ...keystone, calls: { deadline: '1s' } }] },
      ['caching.shared.deadline: must be less than issuers[1].calls.deadline: to ask the authority would be quicker'],
    ],
    ['that is waited for less long', { ...shared({ deadline: '999ms' }), issuers: [{ ...keystone, calls: { deadline: '1s' } }] }, []],
    ['that is waited for longer than a key fetch', { ...shared({ deadline: '1s' }), issuers: [{ ...jwt, calls: { deadline: '1s' } }] }, []],
    [
      'that is off, with a deadline',
      { caching: { shared: { deadline: '1s' } }, issuers: [{ ...keystone, calls: { deadline: '10ms' } }] },
      [],
    ],
    ['with handles', shared({}, { handles: { enabled: true } }), []],
    [
      'that is off, with handles',
      { caching: { handles: { enabled: true } } },
      [
        'caching.handles.enabled: needs caching.shared.servers, caching.enabled and caching.token.enabled: what a handle stands for is kept there',
      ],
    ],
    [
      'that is not used, with handles',
      shared({}, { enabled: false, handles: { enabled: true } }),
      [
        'caching.handles.enabled: needs caching.shared.servers, caching.enabled and caching.token.enabled: what a handle stands for is kept there',
      ],
    ],
    [
      'without tokens in it, with handles',
      shared({}, { token: { enabled: false }, handles: { enabled: true } }),
      [
        'caching.handles.enabled: needs caching.shared.servers, caching.enabled and caching.token.enabled: what a handle stands for is kept there',
      ],
    ],
    [
      'without a port',
      shared({ servers: ['memcached'] }),
      ['caching.shared.servers[0]: must be a host and a port, such as memcached-0.region-two:11211 or 10.0.0.7:11211'],
    ],
  ])('%s', (_, document, messages) => {
    expect(said(load(document))).toEqual(messages);
  });

  it.each<[string, object, readonly string[]]>([
    ['on this host', shared({ servers: ['127.0.0.1:1', '[::1]:1', 'localhost:1'] }), []],
    ['on another host, in clear', shared({ servers: ['127.0.0.1:1', '10.0.0.7:1', '10.0.0.8:1'] }), ['caching.shared.servers']],
    ['on another host, with tls', shared({ servers: ['10.0.0.7:1'], tls: {} }), []],
    ['that is not used', shared({}, { enabled: false }), ['caching.shared.servers']],
  ])('%s warns where it should', (_, document, fields) => {
    const fleet = { engine: 'rabbitmq', rabbitmq: { transport_url_file: 'secret' } };
    expect(warned(load({ ...document, fleet }))).toEqual(fields);
  });

  it('warns where what is revoked at one sidecar is not told to the others', () => {
    expect(warned(load(shared({})))).toEqual(['fleet.engine']);
    expect(warned(load({}))).toEqual([]);
  });
});

describe('a fleet', () => {
  const followed = (size: string): object => ({
    callers: [{ who: { socket: true }, may: ['fleet'] }],
    limits: { request_size: size },
  });
  const rabbitmq = { transport_url_file: 'secret' };
  const jetstream = { servers: ['nats-0:4222'] };
  const follow = { address: 'hub:8443', tls: { cert_file: 'secret', key_file: 'secret' } };
  const keys = { deployment_key_dir: 'keys' };

  it.each<[string, object, readonly string[]]>([
    ['over RabbitMQ', { ...keys, fleet: { engine: 'rabbitmq', rabbitmq } }, []],
    ['over JetStream', { ...keys, fleet: { engine: 'jetstream', jetstream, rabbitmq } }, []],
    ['that is none', { fleet: { engine: 'none', rabbitmq, jetstream } }, []],
    ['over another sidecar', { ...keys, fleet: { engine: 'follow', follow } }, []],
    ['over a log of its own', { ...keys, fleet: { engine: 'local' } }, []],
    ['that takes what who follows sends', { ...keys, ...followed('1MiB'), fleet: { engine: 'local' } }, []],
    [
      'that takes less',
      { ...keys, ...followed('1023KiB'), fleet: { engine: 'local' } },
      ['limits.request_size: must be at least 1 MiB where a line of callers holds fleet: who follows sends many records at once'],
    ],
    ['over nobody', { ...keys, fleet: { engine: 'follow' } }, ['fleet.follow: is missing: fleet.engine is follow']],
    [
      'as nobody',
      { ...keys, fleet: { engine: 'follow', follow: { address: 'hub:8443', tls: { cert_file: 'secret' } } } },
      ['fleet.follow.tls.key_file: is missing: it must be a path of 1 to 4096 characters'],
    ],
    [
      'without its engine',
      { ...keys, fleet: { engine: 'jetstream', rabbitmq } },
      ['fleet.jetstream: is missing: fleet.engine is jetstream'],
    ],
    [
      'without a deployment key',
      { fleet: { engine: 'rabbitmq', rabbitmq } },
      ['deployment_key_dir: is needed by fleet: what sidecars tell each other is authenticated with the key that they share'],
    ],
    [
      'without a port',
      { ...keys, fleet: { engine: 'jetstream', jetstream: { servers: ['nats-0'] } } },
      ['fleet.jetstream.servers[0]: must be a host and a port, such as memcached-0.region-two:11211 or 10.0.0.7:11211'],
    ],
    [
      'with a name that needs escapes',
      { ...keys, fleet: { engine: 'rabbitmq', rabbitmq: { ...rabbitmq, stream: 'side.gate' } } },
      ['fleet.rabbitmq.stream: must be a name of 1 to 64 letters, digits, "_" and "-"'],
    ],
  ])('%s', (_, document, messages) => {
    expect(said(load(document))).toEqual(messages);
  });

  it('that nobody may follow, or that is none and may be followed, is probably not meant', () => {
    const callers = [{ who: { socket: true }, may: ['fleet'] }];
    const warnedOf = (document: object): readonly string[] => warned(load(document)).filter((field) => field === 'fleet.engine');
    expect(warnedOf({ ...keys, fleet: { engine: 'local' } })).toEqual(['fleet.engine']);
    expect(warnedOf({ ...keys, callers, fleet: { engine: 'local' } })).toEqual([]);
    expect(warnedOf({ callers })).toEqual(['fleet.engine']);
  });
});

describe('keys and news of a Keystone', () => {
  const pki = { signing_cert_file: 'secret', ca_file: 'secret' };
  const bus = { transport_url_file: 'secret' };
  const fleet = { deployment_key_dir: 'keys', fleet: { engine: 'local' } };
  const withKeystone = (part: object, more: object = {}): object => ({ issuers: [{ ...keystone, ...part }], ...more });

  it.each<[string, object, readonly string[]]>([
    ['keys of what is accepted', withKeystone({ keys: { pki } }), []],
    ['keys of what is not', withKeystone({ keys: { pki }, accepts: ['fernet'] }), ['issuers[0].keys.pki: needs pki in accepts']],
    ['a directory that is none', withKeystone({ keys: { jws: 'secret' } }), ['issuers[0].keys.jws: must be a directory that can be read']],
    ['a poll twice within max_lag', withKeystone({ news: { poll: { every: '5s' } } }), []],
    [
      'a poll that is slower',
      withKeystone({ news: { poll: { every: '5001ms' } } }),
      ['issuers[0].news.poll.every: must be at most half of max_lag: one poll may fail'],
    ],
    [
      'a poll that sweeps oftener than it polls',
      withKeystone({ news: { poll: { every: '2s', sweep: '1999ms' } } }),
      ['issuers[0].news.poll.sweep: must be at least news.poll.every'],
    ],
    [
      'a pool without a fleet',
      withKeystone({ news: { bus: { ...bus, pool: 'region' } } }),
      ['issuers[0].news.bus.pool: needs fleet.engine: who reads the queue tells the others through it'],
    ],
    ['a pool in a fleet', withKeystone({ news: { bus: { ...bus, pool: 'region' } } }, fleet), []],
    [
      'a pool whose proofs would come too late',
      withKeystone({ news: { bus: { ...bus, pool: 'region' } } }, { ...fleet, max_lag: '4999ms', caching: { settle: '1s' } }),
      ['max_lag: must be at least 5s with issuers[0].news.bus.pool: its proofs come by the fleet'],
    ],
    ['a settle window of a third of max_lag, with a bus', withKeystone({ news: { bus } }, { caching: { settle: '3333ms' } }), []],
    [
      'one that is longer',
      withKeystone({ news: { bus } }, { caching: { settle: '3334ms' } }),
      ['caching.settle: must be at most a third of max_lag with news.bus: a message may wait for two settle windows before it is told'],
    ],
    ['one that is longer, without a bus', withKeystone({ news: { poll: { every: '2s' } } }, { caching: { settle: '3334ms' } }), []],
  ])('%s', (_, document, messages) => {
    expect(said(load(document))).toEqual(messages);
  });
});

describe('times and sizes', () => {
  it.each<[object, readonly string[]]>([
    [{ caching: { settle: '10s', token: { time: '10s' } } }, ['caching.settle: must be less than caching.token.time']],
    [{ caching: { settle: '9999ms', token: { time: '10s' } } }, []],
    [{ caching: { settle: '60s', token: { time: 'token' } } }, []],
    [{ caching: { keys: { time: '10s', cooldown: '11s' } } }, ['caching.keys.cooldown: must be at most caching.keys.time']],
    [{ caching: { keys: { time: '10s', cooldown: '10s' } } }, []],
    [{ caching: { unknown: { time: '301s' } } }, ['caching.unknown.time: must be at most caching.token.time']],
    [{ caching: { unknown: { time: '300s' } } }, []],
    [{ max_lag: '2999ms' }, ['max_lag: must be at least three times watch.checkpoint_interval: a proof must outlive a lost checkpoint']],
    [{ max_lag: '3s' }, []],
    [{ limits: { token_size: '5KiB', request_size: '4KiB' } }, ['limits.token_size: must be at most limits.request_size']],
    [{ limits: { token_size: '4KiB', request_size: '4KiB' } }, []],
    [{ journal: { dir: null } }, ['journal.dir: is needed: without it a restart forgets what was revoked']],
  ])('%j', (document, messages) => {
    expect(said(load(document))).toEqual(messages);
  });

  it('take a default for what the rule compares with, and say where it is to be mended', () => {
    expect(said(load({ watch: { checkpoint_interval: '4s' } }))).toEqual([
      expect.stringMatching(/^max_lag: .*must be at least three times/),
    ]);
  });
});
