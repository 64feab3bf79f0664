// A letter to an authority: what it is to be told, or asked, as soon as it can be reached. Its token is sealed while it waits (S5).

import { openWith, sealWith } from '../../core/sealed.ts';
import type { Asked } from '../asked.ts';

/** What a letter wants: that the authority kills the token, or that it tells what else names one that is dead here. */
export type Errand = 'forward' | 'learn';

/** All of a letter but its token: no secret, written in clear beside it. */
export interface LetterHead {
  readonly errand: Errand;
  /** The name of its issuer. */
  readonly issuer: string;
  /** The public name of the token, by the key that was newest when it was written. */
  readonly fingerprint: string;
  readonly acceptedAtMs: number;
  /** From then on it does not matter any more; `Infinity`: never. */
  readonly endsAtMs: number;
  /** More is known of the token than its shape. */
  readonly isVerified: boolean;
  /** For whom. */
  readonly asked: Asked;
}

/** A letter with its token, in the canonical spelling. */
export interface Letter {
  readonly head: LetterHead;
  readonly raw: string;
}

/** A key that letters are sealed with; `id` is that of the deployment key it is derived from. */
export interface LetterKey {
  readonly id: string;
  readonly key: Uint8Array;
}

/** What a record is, as far as it can be read without a key. */
export interface Envelope {
  readonly keyId: string;
  readonly head: LetterHead;
  /** The head as it was written: what the seal binds the token to. */
  readonly headText: string;
  readonly sealed: Uint8Array;
}

const version = 1;
const newline = 0x0a;

/** Where a letter is kept: one of each errand for a token. */
export function letterId(errand: Errand, fingerprint: string): string {
  return `${fingerprint} ${errand}`;
}

/** The record of a letter: the head, a line of JSON, and the token, sealed so that it opens under this id with this head only. */
export function sealLetter({ head, raw }: Letter, { id: keyId, key }: LetterKey): Uint8Array {
  // JSON has no Infinity.
  const endsAtMs = head.endsAtMs === Number.POSITIVE_INFINITY ? 'never' : head.endsAtMs;
  const headText = JSON.stringify({ v: version, keyId, ...head, endsAtMs });
  const sealed = sealWith(key, Buffer.from(raw, 'utf8'), placeOf(head, headText));
  return Buffer.concat([Buffer.from(`${headText}\n`, 'utf8'), sealed]);
}

/** The envelope of a record; undefined where it is none that this version knows. */
export function envelopeOf(record: Uint8Array): Envelope | undefined {
  const end = record.indexOf(newline);
  if (end < 0) return undefined;
  const headText = Buffer.from(record.subarray(0, end)).toString('utf8');
  const fields = parsed(headText);
  const head = fields && headIn(fields);
  const keyId = fields?.['keyId'];
  if (!head || typeof keyId !== 'string') return undefined;
  return { keyId, head, headText, sealed: record.subarray(end + 1) };
}

/** The token of a letter; undefined where this key does not open it. */
export function openLetter({ head, headText, sealed }: Envelope, { key }: LetterKey): string | undefined {
  const raw = openWith(key, sealed, placeOf(head, headText));
  return raw && Buffer.from(raw).toString('utf8');
}

function placeOf({ errand, fingerprint }: LetterHead, headText: string): string {
  return `${letterId(errand, fingerprint)}\n${headText}`;
}

function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch (error) {
    // Damaged: whoever reads it keeps it, and says so.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function headIn(fields: Readonly<Record<string, unknown>>): LetterHead | undefined {
  const { v, errand, issuer, fingerprint, acceptedAtMs, isVerified } = fields;
  const endsAtMs = fields['endsAtMs'] === 'never' ? Number.POSITIVE_INFINITY : fields['endsAtMs'];
  const asked = askedIn(fields['asked']);
  if (v !== version || (errand !== 'forward' && errand !== 'learn') || !asked) return undefined;
  if (typeof issuer !== 'string' || typeof fingerprint !== 'string') return undefined;
  if (typeof acceptedAtMs !== 'number' || typeof endsAtMs !== 'number') return undefined;
  return { errand, issuer, fingerprint, acceptedAtMs, endsAtMs, isVerified: isVerified === true, asked };
}

function askedIn(value: unknown): Asked | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { actor, caller, requestId, reason }: Partial<Record<keyof Asked, unknown>> = value;
  if (typeof actor !== 'string' || typeof caller !== 'string' || typeof requestId !== 'string' || typeof reason !== 'string')
    return undefined;
  return { actor, caller, requestId, reason };
}
