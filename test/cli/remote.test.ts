// A sidecar on another host, asked from the command line with certificates: `sidegate serve` and the asking commands as programs.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type CertificateFiles, callerPair, certificateFiles, createCa } from '../fakes/certificates.ts';
import { allOutput, type Ended, endAll, type Started, sidegate, start } from './program.ts';

const ca = createCa();
let files: CertificateFiles;
let program: Started;
let address = '';

beforeAll(async () => {
  files = certificateFiles(ca);
  const { put, directory } = files;
  for (const [name, pair] of [
    ['probe', callerPair(ca, ['dns', 'probe.example.org'])],
    ['responder', callerPair(ca, ['uri', 'spiffe://example.org/responder'])],
    ['stranger', callerPair(createCa('other CA'), ['dns', 'probe.example.org'])],
  ] as const) {
    put(`${name}.crt`, pair.cert);
    put(`${name}.key`, pair.key);
  }
  put('other-ca.crt', createCa('other CA').pem);
  put('secret', 'correct-horse');
  const path = join(directory, 'sidegate.yaml');
  writeFileSync(
    path,
    `name: far
listen:
  socket: null
  tcp: null
  operations: null
  remote: { address: "127.0.0.1:0", tls: { cert_file: tls.crt, key_file: tls.key, client_ca_file: ca.crt } }
callers:
  - { who: { certificate_name: probe.example.org }, may: [status, watch] }
  - { who: { spiffe_id: "spiffe://example.org/responder" }, may: [revoke, refresh] }
issuers:
  - name: partner
    kind: introspection
    url: http://127.0.0.1:1/introspect
    auth: { client_secret_basic: { client_id: sidegate, secret_file: secret } }
    max_token_life: 1h
journal: { dir: journal }
`,
  );
  program = start(['serve', '--config', path]);
  address = (JSON.parse(await program.line(/"message":"serving"/)) as { remote: string }).remote;
});

afterAll(async () => {
  await endAll();
  files.remove();
});

/** With the certificate of `who`; over TLS without one where that is undefined. */
function ask(who: string | undefined, args: readonly string[], { authority = 'ca.crt', at = address } = {}): Promise<Ended> {
  const file = (name: string): string => join(files.directory, name);
  const own = who === undefined ? [] : ['--tls-cert', file(`${who}.crt`), '--tls-key', file(`${who}.key`)];
  return sidegate([...args, '--address', at, '--tls-ca', file(authority), ...own]);
}

test('status tells who is asked, and says nothing on standard error', async () => {
  expect(await ask('probe', ['status'])).toMatchObject({
    code: 0,
    stderr: '',
    stdout: expect.stringMatching(/^sidegate \S+ · far · up .* · SERVING\n/),
  });
});

test('who may revoke does so, and it is in the audit under the name of the certificate', async () => {
  const { code, stdout } = await ask('responder', ['revoke', '--issuer', 'partner', '--user', 'bob', '--yes']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^REVOKE/i) });
  const line = await program.line(/"audit":true/);
  expect(JSON.parse(line)).toMatchObject({ act: 'revoke', actor: 'spiffe://example.org/responder', outcome: 'done' });
});

test('watch tells what was revoked', async () => {
  const watching = start(
    ['watch', '--json', '--address', address, '--tls-ca', join(files.directory, 'ca.crt')].concat(
      ['--tls-cert', join(files.directory, 'probe.crt')],
      ['--tls-key', join(files.directory, 'probe.key')],
    ),
    { stdin: 'open' },
  );
  await watching.line(/opened/);
  await ask('responder', ['revoke', '--issuer', 'partner', '--user', 'carol', '--yes']);
  await watching.line(/EFFECT_REVOKE|REVOKE/);
  watching.child.kill('SIGINT');
  expect((await watching.ended).code).toBe(130);
});

test.each<[string, () => Promise<Ended>, number, RegExp]>([
  ['a certificate that no line names for this', () => ask('responder', ['status']), 3, /spiffe:\/\/example\.org\/responder may not status/],
  ['no certificate', () => ask(undefined, ['status']), 3, /takes nobody without a certificate, and none was given/],
  ['a certificate of another authority', () => ask('stranger', ['status']), 3, /does not take our certificate/],
  [
    'a sidecar of another authority',
    () => ask('probe', ['status'], { authority: 'other-ca.crt' }),
    3,
    /certificate of the sidecar is from no authority that is trusted here/,
  ],
  [
    'a sidecar of another name',
    () => ask('probe', ['status'], { at: address.replace('127.0.0.1', 'localhost') }),
    3,
    /certificate of the sidecar is not for localhost, but for DNS:sidegate\.example, IP Address:127\.0\.0\.1/,
  ],
  ['files that are not there', () => ask('nobody', ['status']), 3, /certificates to connect with cannot be used: ENOENT/],
  ['a socket', () => ask('probe', ['status'], { at: 'unix:///run/x.sock' }), 2, /are for a sidecar at --address host:port/],
  [
    'half a pair',
    () => sidegate(['status', '--address', address, '--tls-cert', join(files.directory, 'probe.crt')]),
    2,
    /--tls-cert and --tls-key belong together/,
  ],
])('%s: said in words, with its exit code', async (_, run, code, words) => {
  const ended = await run();
  expect(ended).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(words) });
});

test('a renewed certificate is used without a restart', async () => {
  const renewed = createCa('next CA');
  files.put('next-ca.crt', renewed.pem);
  const { key, cert } = callerPair(renewed, ['dns', 'probe.example.org']);
  files.put('next.crt', cert);
  files.put('next.key', key);
  files.put('ca.crt', `${ca.pem}${renewed.pem}`);
  await vi.waitFor(async () => expect((await ask('next', ['status'])).code).toBe(0), { timeout: 30_000, interval: 200 });
  expect((await ask('probe', ['status'])).code).toBe(0);
});

test('it drains at SIGTERM, and has printed no key', async () => {
  program.child.kill('SIGTERM');
  expect((await program.ended).code).toBe(0);
  expect(allOutput()).not.toMatch(/PRIVATE KEY|correct-horse/);
});
