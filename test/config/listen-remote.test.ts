// `listen.remote` and the callers that are known by certificates: how they are written, and what `--check` says of their files.

import { afterAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { type LoadResult, loadConfig } from '../../src/config/load.ts';
import { printConfig } from '../../src/config/print.ts';
import { callerPair, certificateFiles, createCa, pairOf, serverPair } from '../fakes/certificates.ts';

const ca = createCa();
const files = certificateFiles(ca);
afterAll(() => files.remove());
files.put('secret', 'x');
const pair = serverPair(ca);
files.put('two.crt', `${pair.cert}${ca.pem}`);
files.put('two.key', pair.key);
files.put('broken.crt', ca.pem.replace(/[A-Za-z0-9]{40}/, 'AAAA'));
files.put('other.key', pairOf(ca).key);
files.put('caller.crt', callerPair(ca).cert);

const tls = { cert_file: 'tls.crt', key_file: 'tls.key', client_ca_file: 'ca.crt' };
const issuer = {
  name: 'central',
  kind: 'keystone',
  url: 'https://k.example/v3',
  login: { application_credential: { id: 'a', secret_file: 'secret' } },
  max_token_life: '24h',
};
const who = { spiffe_id: 'spiffe://example.org/ns/security/sa/responder' };
const local = { who: { local: true }, may: ['validate'] };
const named = { who, may: ['revoke'] };
const load = (document: object): LoadResult =>
  loadConfig({
    text: stringify({ issuers: [issuer], callers: [local, named], ...document }, { lineWidth: 0 }),
    env: {},
    baseDir: files.directory,
  });
const remote = (with_: object): LoadResult => load({ listen: { remote: { address: '0.0.0.0:8443', tls: { ...tls, ...with_ } } } });
const said = (result: LoadResult): readonly string[] =>
  (result.ok ? [] : result.problems).map(({ field, message }) => `${field}: ${message}`);
const warned = (result: LoadResult): readonly string[] => (result.ok ? result.warnings.map(({ field }) => field) : ['it was refused']);

describe('listen.remote', () => {
  it('is at any address, and means what was written', () => {
    const result = load({ listen: { socket: null, tcp: null, remote: { address: '[::]:8443', tls } } });
    expect(said(result)).toEqual([]);
    expect(warned(result)).toEqual([]);
    const at = (name: string) => expect.objectContaining({ path: `${files.directory}/${name}` });
    expect(result.ok && result.config.listen.remote).toEqual({
      address: { host: '::', port: 8443 },
      tls: { certFile: at('tls.crt'), keyFile: at('tls.key'), clientCaFile: at('ca.crt') },
    });
  });

  it.each<[string, object, readonly string[]]>([
    ['a chain of two', { cert_file: 'two.crt', key_file: 'two.key' }, []],
    ['a key of another certificate', { key_file: 'other.key' }, ['key_file: must hold the key of the first certificate in cert_file']],
    [
      'a key in the place of the certificate',
      { cert_file: 'tls.key' },
      ['cert_file: must hold a certificate in PEM, and nothing that looks like one'],
    ],
    ['a certificate in the place of the key', { key_file: 'tls.crt' }, ['key_file: must hold a private key in PEM, without a passphrase']],
    [
      'an authority that cannot be read',
      { client_ca_file: 'broken.crt' },
      ['client_ca_file: must hold at least one certificate in PEM, and nothing that looks like one'],
    ],
    ['a file that is not there', { client_ca_file: 'nowhere' }, ['client_ca_file: names a file that cannot be read: there is none']],
  ])('with %s', (_, changed, messages) => {
    expect(said(remote(changed))).toEqual(messages.map((it) => `listen.remote.tls.${it}`));
  });

  it.each(['cert_file', 'key_file', 'client_ca_file'])('needs %s', (name) => {
    const { [name as keyof typeof tls]: _, ...rest } = tls;
    const result = load({ listen: { remote: { address: '0.0.0.0:8443', tls: rest } } });
    expect(said(result)).toEqual([`listen.remote.tls.${name}: is missing: it must be a path of 1 to 4096 characters`]);
  });

  it('has a port of its own', () => {
    const result = load({ listen: { remote: { address: '0.0.0.0:8472', tls } } });
    expect(said(result)).toEqual(['listen.operations: must have another port than listen.remote.address']);
  });

  it('is printed with the paths of its files and never what is in them', () => {
    const result = remote({});
    const printed = result.ok ? printConfig(result, 'x.yaml') : '';
    expect(printed).toContain('8443');
    expect(printed).not.toMatch(/BEGIN|PRIVATE/);
  });

  it('without a line that names somebody gives a warning', () => {
    expect(warned(load({ listen: { remote: { address: '0.0.0.0:8443', tls } }, callers: [local] }))).toEqual(['listen.remote']);
    const byRole = { who: { token_role: 'admin', issuer: 'central' }, may: ['revoke'] };
    expect(warned(load({ listen: { remote: { address: '0.0.0.0:8443', tls } }, callers: [byRole] }))).toEqual([]);
  });
});

describe('callers with certificates', () => {
  const byId = (id: string) =>
    load({ listen: { remote: { address: '0.0.0.0:8443', tls } }, callers: [{ who: { spiffe_id: id }, may: ['find'] }] });
  const byName = (name: string) =>
    load({ listen: { remote: { address: '0.0.0.0:8443', tls } }, callers: [{ who: { certificate_name: name }, may: ['find'] }] });

  it('where nobody can show one give a warning', () => {
    expect(warned(load({}))).toEqual(['callers[1].who']);
  });

  it.each(['spiffe://example.org', 'spiffe://a.b-c_d/x/..y/...', `spiffe://${'d'.repeat(255)}/x`, `spiffe://a/${'p'.repeat(2037)}`])(
    'may have the id %s',
    (id) => {
      expect(said(byId(id))).toEqual([]);
    },
  );

  it.each([
    'spiffe://',
    'spiffe://Example.org/a',
    'SPIFFE://example.org/a',
    'spiffe://example.org/',
    'spiffe://example.org/a//b',
    'spiffe://example.org/../b',
    'spiffe://example.org/a/.',
    'spiffe://example.org/%61',
    'spiffe://example.org:8443/a',
    'spiffe://example.org/a?b',
    'https://example.org/a',
    `spiffe://${'d'.repeat(256)}/x`,
    `spiffe://a/${'p'.repeat(2038)}`,
  ])('have no such id as %s', (id) => {
    expect(said(byId(id))).toEqual([expect.stringMatching(/^callers\[0\]\.who\.spiffe_id: must be a SPIFFE ID/)]);
  });

  it('are told apart by names in lower case', () => {
    const result = byName('Nova-API.Example.org');
    expect(result.ok && result.config.callers).toEqual([
      { who: { kind: 'certificate-name', name: 'nova-api.example.org' }, may: ['find'] },
    ]);
  });

  it.each(['*.example.org', 'a b', 'a..b', '.a', 'a.', 'https://a.b', `${'a'.repeat(64)}.example`, 'ä.example'])(
    'have no such name as %s',
    (name) => {
      expect(said(byName(name))).toEqual([expect.stringMatching(/^callers\[0\]\.who\.certificate_name: must be a DNS name/)]);
    },
  );
});
