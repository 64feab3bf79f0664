// Reading a configuration: YAML, the environment, files, and how problems are told.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is written in a configuration

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { defaultConfig, formatProblems, type LoadResult, loadConfig } from '../../src/config/load.ts';

const dir = mkdtempSync(join(tmpdir(), 'sidegate-load-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const load = (text: string, env: Record<string, string> = {}): LoadResult => loadConfig({ text, env, baseDir: dir, purpose: 'dev' });
const said = (result: LoadResult): string => (result.ok ? '' : formatProblems(result.problems, 's.yaml'));

describe('a text', () => {
  it('that is empty gives the defaults', () => {
    const result = load('');
    expect(result.ok && JSON.stringify(result.config)).toBe(JSON.stringify(defaultConfig()));
    expect(defaultConfig()).toMatchObject({
      listen: { socket: { mode: 0o660 }, tcp: { host: '127.0.0.1', port: 8471 } },
      issuers: [],
      caching: { token: { timeMs: 300_000 }, memory: { maxSizeBytes: 67_108_864 } },
      maxLagMs: 10_000,
    });
  });

  it.each([
    ['listen: {', 's.yaml:1:10 the indentation fits nothing above it'],
    ['\tname: a', 's.yaml:1:1 tabs cannot indent in YAML; use spaces'],
    ['name: a\nname: b', 's.yaml:2:1 the same name is written twice'],
    ['name: a\n---\nname: b', 's.yaml:2:1 a second document begins here; only one is read'],
    ['name: &a x', 's.yaml:1:10 anchors and aliases are not read; write the value out'],
    ['name: *hunter2', 's.yaml:1:7 anchors and aliases are not read; write the value out'],
    ['name: !hunter2 x', 's.yaml:1:7 tags (words that begin with "!") are not read'],
    ['? [hunter2]\n: b', 's.yaml:1:3 a name must be a plain word'],
    ['name: "hunter2', expect.stringMatching(/^s\.yaml:1:\d+ something is missing here/)],
    ['- a', 's.yaml:1:1 must hold settings'],
    ['hunter2', 's.yaml:1:1 must hold settings'],
    ['hunter2 is my: "pass word"', 's.yaml:1:1 ?: is not a setting here; did you mean "callers"?'],
    [' '.repeat(262_145), 's.yaml:1:1 is longer than 262,144 characters'],
  ])('%.20j is refused', (text, message) => {
    expect(said(load(text))).toEqual(message);
    expect(said(load(text))).not.toContain('hunter2');
  });

  it.each([
    ['nested without end', '['.repeat(200_000)],
    ['made of mappings without end', '{a: '.repeat(60_000)],
    ['made of lists without end', '- '.repeat(100_000)],
    ['a bomb of aliases', `a: &a [x]\n${Array.from({ length: 30 }, (_, i) => `b${i}: &b${i} [*a, *a]`).join('\n')}`],
    ['the prototype', '__proto__: { polluted: true }\nconstructor: { prototype: 1 }\nlisten: { __proto__: { tcp: null } }'],
    ['nested as deep as YAML may be', `name: ${'['.repeat(40)}${']'.repeat(40)}`],
    ['binary', '\u0000\u0001\uFFFE'],
  ])('that is %s is refused and harms nothing', (_, text) => {
    expect(load(text).ok).toBe(false);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('gets all its problems told at once, in the order of its lines', () => {
    const text = [
      'lissten: 1',
      'max_lag: 7',
      'limits: { skew: 99h, token_sise: 1KiB }',
      'watch:',
      '  ring: 1',
      '  max_watchers: many',
    ].join('\n');
    expect(said(load(text)).split('\n')).toEqual([
      's.yaml:1:1 lissten: is not a setting here; did you mean "listen"?',
      's.yaml:2:10 max_lag: must be a duration from 300ms to 10m, written like 250ms, 30s, 5m or 24h',
      's.yaml:3:17 limits.skew: must be a duration from 0s to 60s, written like 250ms, 30s, 5m or 24h',
      's.yaml:3:22 limits.token_sise: is not a setting here; did you mean "token_size"?',
      's.yaml:5:9 watch.ring: must be a whole number from 16 to 1048576',
      's.yaml:6:17 watch.max_watchers: must be a whole number from 1 to 100000',
    ]);
  });

  it('with another kind of issuer hears what kinds there are', () => {
    expect(said(load('issuers:\n  - { name: a, kind: jvt }\n  - 5'))).toBe(
      [
        's.yaml:2:22 issuers[0].kind: must have a kind: one of keystone, jwt, introspection',
        's.yaml:3:5 issuers[1]: must have a kind: one of keystone, jwt, introspection',
      ].join('\n'),
    );
  });

  it('may say that facts are good until the token ends: then the longest life bounds them', () => {
    const issuer = (name: string, life: string): string =>
      `  - { name: ${name}, kind: jwt, issuer: "https://${name}.example", algorithms: [ES256], max_token_life: ${life} }`;
    const result = load(`issuers:\n${issuer('a', '2h')}\n${issuer('b', '1h')}\ncaching: { token: { time: token } }`);
    expect(result.ok && result.config.caching.token.timeMs).toBe(7_200_000);
    const alone = load('caching: { token: { time: token } }');
    expect(alone.ok && alone.config.caching.token.timeMs).toBe(86_400_000);
  });
});

describe('any text', () => {
  const example = readFileSync(new URL('../../sidegate.example.yaml', import.meta.url), 'utf8');
  // Half of the pieces mean something to YAML or to us.
  const piece = fc.oneof(
    fc.string({ maxLength: 4 }),
    fc.constantFrom(': ', '\n', '- ', '{', ']', '"', '#', '&a', '*a', '!x', '${', '\t', '|', 'null', '-1', '?'),
  );

  it('gets an answer: what is in force, or problems at lines that there are', () => {
    const edit = fc.record({ at: fc.nat(example.length), length: fc.nat(30), piece });
    const edited = fc
      .array(edit, { minLength: 1, maxLength: 3 })
      .map((edits) => edits.reduce((text, { at, length, piece: put }) => text.slice(0, at) + put + text.slice(at + length), example));
    fc.assert(
      fc.property(edited, (text) => {
        const result = load(text);
        const problems = result.ok ? [] : result.problems;
        expect(result.ok || problems.length > 0).toBe(true);
        expect(problems.every(({ line, column }) => line >= 1 && column >= 1 && line <= text.split('\n').length)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the environment', () => {
  it('is read where it is named, and numbers and switches may come from it', () => {
    const text = 'name: ${HOST}-${N}\nwatch:\n  ring: ${RING}\ncaching:\n  enabled: ${ON}\n  token: { jitter: "${J}" }';
    const result = load(text, { HOST: 'nova', N: '3', RING: '64', ON: 'false', J: '0.2' });
    expect(result).toMatchObject({
      ok: true,
      config: { name: 'nova-3', watch: { ring: 64 }, caching: { enabled: false, token: { jitter: 0.2 } } },
    });
  });

  it('cannot add settings, nor turn text into anything else', () => {
    const result = load('name: ${A}', { A: '{ x: 1 }\nlisten: null' });
    expect(said(result)).toMatch(/^s\.yaml:1:7 name: must be a name/);
    expect(load('name: ${A}', { A: '007' })).toMatchObject({ ok: true, config: { name: '007' } });
  });

  it.each([
    ['name: ${NOT_THERE}', 's.yaml:1:7 name: the environment has no NOT_THERE'],
    ['name: ${toString}', 's.yaml:1:7 name: the environment has no toString'],
    ['name: "${OPEN"', expect.stringMatching(/^s\.yaml:1:7 name: "\$\{" begins the name of an environment variable/)],
    ['name: "${A:-b}"', expect.stringMatching(/^s\.yaml:1:7 name: "\$\{" begins/)],
    ['watch: { ring: ${RING} }', expect.stringMatching(/in quotes$/)],
    ['watch:\n  ring: ${A}', expect.stringMatching(/^s\.yaml:2:9 watch\.ring: must be a whole number/)],
  ])('%j is a problem', (text, message) => {
    const result = load(text, { A: 'hunter2', RING: '64' });
    expect(said(result)).toEqual(message);
    expect(said(result)).not.toContain('hunter2');
  });

  it('is not read after $$', () => {
    const result = load('audit: { file: "a-$${HOME}-$x" }', { HOME: '/h' });
    expect(result.ok && result.config.audit.file).toBe(join(dir, 'a-${HOME}-$x'));
  });
});

describe('files', () => {
  const issuer = (file: string): string =>
    `issuers:\n  - name: a\n    kind: jwt\n    issuer: x\n    algorithms: [ES256]\n    max_token_life: 1h\n    keys:\n      file: ${file}`;

  it('are taken from beside the configuration', async () => {
    writeFileSync(join(dir, 'keys.json'), '{"keys":[]}\n');
    const path = join(dir, 'sidegate.yaml');
    writeFileSync(path, `${issuer('keys.json')}\njournal: { dir: state }`);
    const result = loadConfig({ path, env: {} });
    expect(result).toMatchObject({ ok: true, config: { journal: { dir: join(dir, 'state') } } });
    const [first] = result.ok ? result.config.issuers : [];
    const keys = first?.kind === 'jwt' && first.keys.kind === 'file' ? first.keys.file : undefined;
    expect(keys?.path).toBe(join(dir, 'keys.json'));
    expect(await keys?.read()).toBe('{"keys":[]}');
  });

  it.each([
    ['that are not there', 'hunter2', 'there is none'],
    ['that are directories', '.', 'it is not a file'],
    ['that are empty', 'empty', 'it is empty'],
    ['that are too large', 'large', 'it is larger than 1 MiB'],
  ])('%s are told with their line and without their path', (_, file, why) => {
    writeFileSync(join(dir, 'empty'), '\n');
    writeFileSync(join(dir, 'large'), 'x'.repeat(1024 ** 2 + 1));
    expect(said(load(issuer(file)))).toBe(`s.yaml:8:13 issuers[0].keys.file: names a file that cannot be read: ${why}`);
  });

  it('of deployment keys are in a directory that must be there', () => {
    expect(said(load('deployment_key_dir: nowhere'))).toBe('s.yaml:1:21 deployment_key_dir: must be a directory that can be read');
    expect(load('deployment_key_dir: .')).toMatchObject({ ok: true, config: { deploymentKeyDir: dir } });
  });

  it('of configuration that cannot be read are one problem', () => {
    expect(said(loadConfig({ path: join(dir, 'nowhere.yaml'), env: {} }))).toBe('s.yaml:1:1 cannot be read (ENOENT)');
    writeFileSync(join(dir, 'latin.yaml'), Buffer.from([0x6e, 0xe9]));
    expect(said(loadConfig({ path: join(dir, 'latin.yaml'), env: {} }))).toBe('s.yaml:1:1 is not UTF-8');
  });
});

describe('what is written about the shared tier, the faces and telling the authority', () => {
  it('means what it says, in milliseconds and absolute paths', () => {
    for (const name of ['ca', 'cert', 'key', 'secret']) writeFileSync(join(dir, name), 'x');
    const result = load(`
deployment_key_dir: .
listen:
  keystone: { address: "[::1]:8473", allow_expired: false }
  introspection: 127.0.0.1:8474
caching:
  shared:
    servers: ["[::1]:11211", cache.example:11212]
    tls: { ca_file: ca, server_name: cache, cert_file: cert, key_file: key }
    deadline: 30ms
    breaker: { failures: 5, retry_after: 2s }
  token: { refresh_ahead: 0.5, stale_while_down: 1m }
  catalog: { enabled: false, time: 2m }
  handles: { enabled: true }
callers:
  - { who: { socket: true }, may: [find] }
issuers:
  - name: corp
    kind: jwt
    issuer: https://i.example
    algorithms: [ES256]
    max_token_life: 1h
    service_roles: [robot, service]
    revoke_upstream: true
    revocation: { url: "https://i.example/revoke?x=1", auth: { client_secret_post: { client_id: us, secret_file: secret } } }
  - name: central
    kind: keystone
    url: https://k.example/v3
    login: { application_credential: { id: a, secret_file: secret } }
    max_token_life: 24h
`);
    const at = (path: string) => expect.objectContaining({ path: join(dir, path) });
    expect(said(result)).toBe('');
    expect(result.ok && result.config).toMatchObject({
      listen: { keystone: { address: { host: '::1', port: 8473 }, allowExpired: false }, introspection: { host: '127.0.0.1', port: 8474 } },
      caching: {
        shared: {
          servers: [
            { host: '::1', port: 11_211 },
            { host: 'cache.example', port: 11_212 },
          ],
          tls: { caFile: at('ca'), serverName: 'cache', certFile: at('cert'), keyFile: at('key') },
          deadlineMs: 30,
          breaker: { failures: 5, retryAfterMs: 2000 },
        },
        token: { refreshAhead: 0.5, staleWhileDownMs: 60_000 },
        catalog: { enabled: false, timeMs: 120_000 },
        handles: { enabled: true },
      },
      callers: [{ who: { kind: 'socket' }, may: ['find'] }],
      issuers: [
        {
          serviceRoles: ['robot', 'service'],
          revokeUpstream: true,
          revocation: { url: 'https://i.example/revoke?x=1', auth: { kind: 'post', clientId: 'us', clientSecret: at('secret') } },
        },
        { serviceRoles: ['service'], revokeUpstream: false, expiredWithinMs: 172_800_000 },
      ],
    });
  });

  it('is off where nothing is written', () => {
    expect(defaultConfig()).toMatchObject({
      listen: { keystone: undefined, introspection: undefined },
      caching: {
        shared: { servers: [], tls: undefined, deadlineMs: 20, breaker: { failures: 3, retryAfterMs: 1000 } },
        token: { refreshAhead: 0.8, staleWhileDownMs: 0 },
        catalog: { enabled: true, timeMs: 600_000 },
        handles: { enabled: false },
      },
    });
  });
});
