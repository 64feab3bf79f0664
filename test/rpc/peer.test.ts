// Who a certificate says somebody is.

import { expect, it } from 'vitest';
import { type PeerFacts, peerOf } from '../../src/rpc/peer.ts';

const fingerprint256 = 'AB:CD';
const valid = 'Nov 30 12:01:07 2026 GMT';
const of = (subjectaltname: string, validTo = valid) => peerOf({ subjectaltname, valid_to: validTo, fingerprint256 });

it.each<[string, string, string | undefined, readonly string[], string]>([
  ['one of each', 'DNS:a.example, URI:spiffe://t/x, IP Address:10.0.0.1, email:a@b', 'spiffe://t/x', ['a.example'], 'spiffe://t/x'],
  ['several DNS names, one twice', 'DNS:B.example, DNS:a.example, DNS:b.example', undefined, ['b.example', 'a.example'], 'b.example'],
  ['a URI that is no SPIFFE ID', 'URI:https://t/x, DNS:a.example', undefined, ['a.example'], 'a.example'],
  ['two URIs', 'URI:spiffe://t/x, URI:https://t/x', undefined, [], 'certificate abcd'],
  ['the same URI twice', 'URI:spiffe://t/x, URI:spiffe://t/x', undefined, [], 'certificate abcd'],
  ['a name in quotes', 'DNS:"a\\u002c DNS:b.example", DNS:c.example', undefined, ['c.example'], 'c.example'],
  ['a quote that does not end', 'DNS:a.example, DNS:"b', undefined, [], 'certificate abcd'],
  ['no list', 'whatever', undefined, [], 'certificate abcd'],
  ['nothing', '', undefined, [], 'certificate abcd'],
  ['the name of a listener of ours', 'DNS:socket', undefined, ['socket'], 'certificate socket'],
  ['a wildcard', 'DNS:*.example', undefined, [], 'certificate abcd'],
  ['a name with a dot at its end', 'DNS:a.example.', undefined, [], 'certificate abcd'],
  ['a name of 253 characters', `DNS:${'a.'.repeat(126)}b`, undefined, [`${'a.'.repeat(126)}b`], `${'a.'.repeat(126)}b`],
  ['a name of 254 characters', `DNS:${'a.'.repeat(126)}bb`, undefined, [], 'certificate abcd'],
])('%s', (_, list, spiffeId, dnsNames, name) => {
  expect(of(list)).toMatchObject({ spiffeId, dnsNames, name });
});

it.each([
  [2048, true],
  [2049, false],
])('a SPIFFE ID of %i characters: %s', (length, isOne) => {
  const id = `spiffe://t/${'x'.repeat(length - 11)}`;
  expect(of(`URI:${id}`)?.spiffeId).toBe(isOne ? id : undefined);
});

it('the last second of a certificate is inside it, and an end that cannot be read is over', () => {
  expect(of('', valid)?.validUntilMs).toBe(Date.UTC(2026, 10, 30, 12, 1, 8));
  expect(of('', 'some day')?.validUntilMs).toBe(0);
});

it('is the same object for the same certificate', () => {
  const certificate: PeerFacts = { subjectaltname: 'DNS:a.example', valid_to: valid, fingerprint256 };
  expect(peerOf(certificate)).toBe(peerOf(certificate));
  expect(peerOf({ ...certificate })).not.toBe(peerOf(certificate));
  expect(peerOf(undefined)).toBe(undefined);
});

it('a list of a megabyte of quotes is read in no time', () => {
  const startedMs = performance.now();
  for (const list of [`DNS:"${'\\"'.repeat(500_000)}`, `DNS:${'"'.repeat(1_000_000)}`, 'DNS:a, '.repeat(150_000)]) {
    expect(of(list)?.dnsNames).toEqual([]);
  }
  expect(performance.now() - startedMs).toBeLessThan(1000);
});
