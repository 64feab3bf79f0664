// Who is at the other end, out of the certificate that was verified: URIs and DNS names of its subject alternative names, never its CN.

import type { PeerCertificate } from 'node:tls';
import { spiffeIdPattern } from '../core/spiffe-id.ts';
import type { Peer } from '../service/callers.ts';

/** What of a certificate tells who it is. */
export type PeerFacts = Pick<PeerCertificate, 'subjectaltname' | 'valid_to' | 'fingerprint256'>;

/** More names than any caller has, and they would have to be compared at each call. */
const mostNames = 64;
const longestSpiffeId = 2048;
/** A name in Node's list: its kind, then itself. What has characters that need it is in quotes, as a JSON string, and no identity. */
const oneName = /([A-Za-z0-9 ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;
const dnsPattern = /^[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*$/;

const known = new WeakMap<PeerFacts, Peer>();

/**
 * The peer of a connection, the same object as long as it is the same certificate object. Where its list of names is too long, or is not
 * as Node writes one, it has none of them.
 */
export function peerOf(certificate: PeerFacts | undefined): Peer | undefined {
  if (certificate === undefined) return undefined;
  const kept = known.get(certificate);
  if (kept) return kept;
  const made = read(certificate);
  known.set(certificate, made);
  return made;
}

function read({ subjectaltname, valid_to: validTo, fingerprint256 }: PeerFacts): Peer {
  const names = namesIn(subjectaltname ?? '') ?? [];
  const uris = names.filter(({ kind }) => kind === 'URI');
  const [uri] = uris;
  // X509-SVID §2: an SVID has exactly one URI; a certificate with more is none.
  const spiffeId = uris.length === 1 && uri && isSpiffeId(uri.value) ? uri.value : undefined;
  // A wildcard names nobody.
  const dnsNames = names.filter(({ kind, value }) => kind === 'DNS' && isDnsName(value)).map(({ value }) => value.toLowerCase());
  const endsAtMs = Date.parse(validTo);
  return {
    spiffeId,
    dnsNames: [...new Set(dnsNames)],
    name: spiffeId ?? shown(dnsNames[0] ?? fingerprint256.replaceAll(':', '').toLowerCase()),
    // An end that cannot be read is over; one that can is the last second in which it holds (RFC 5280 §4.1.2.5).
    validUntilMs: Number.isNaN(endsAtMs) ? 0 : endsAtMs + 1000,
  };
}

/** No certificate may look like a listener of ours in the audit: `socket` is a DNS name too. */
function shown(name: string): string {
  return name.includes('.') ? name : `certificate ${name}`;
}

function isSpiffeId(text: string): boolean {
  return text.length <= longestSpiffeId && spiffeIdPattern.test(text);
}

function isDnsName(text: string): boolean {
  return text.length <= 253 && dnsPattern.test(text.toLowerCase());
}

interface Name {
  readonly kind: string;
  readonly value: string;
}

/** Undefined: too many, or not read to the end. */
function namesIn(list: string): readonly Name[] | undefined {
  const found: Name[] = [];
  oneName.lastIndex = 0;
  while (oneName.lastIndex < list.length) {
    const match = oneName.exec(list);
    if (!match || found.length === mostNames) return undefined;
    const [, kind = '', value = ''] = match;
    found.push({ kind, value });
  }
  return found;
}
