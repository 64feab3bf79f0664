// Records of a fleet's log: what sidecars tell each other there, each under a MAC of the deployment's key (S14).

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { numberIn, objectIn, textIn, understand, writtenEntry } from './entry-record.ts';
import type { Entry } from './invalidation.ts';
import { deriveKey } from './sealed.ts';
import type { DeploymentKey } from './tag.ts';

/** A sidecar's sign of life. */
export interface Presence {
  /** Of its journal: who it is. */
  readonly journal: string;
  /** As configured, for people. */
  readonly name: string;
  /** Random, of this one run of it. */
  readonly run: string;
  /** Rises with each. */
  readonly turn: number;
  /** When it was appended, by its wall clock. */
  readonly atMs: number;
  /** The newest revision of its journal: one that tells more than it has was restored from a copy. */
  readonly head: number;
  /** What its journal holds is in this log. False: the log was made again, and it is not done with telling it. */
  readonly isWhole: boolean;
  /** Roll calls that it answers: everything that stands before them is applied there. */
  readonly answers: readonly string[];
  /** Calls the roll, under each of these names. */
  readonly calls: readonly string[];
  /** It may have missed what the log no longer holds, and asks everybody to tell what is theirs again; a name for it. */
  readonly asks?: string;
  /** It ends, and answers nobody from now on. */
  readonly isLeaving?: true;
}

/**
 * One sidecar has asked a source for all of them: whatever it was told stands before this record. Times in milliseconds, those of what was
 * listed by the source's clock.
 */
export interface Polled {
  /** Of its journal: who has asked. */
  readonly journal: string;
  readonly issuer: string;
  /** What was asked: `poll`, or `sweep`; `bus`: what a queue of all held when the question began, which all three of its times are. */
  readonly source: string;
  /** When the question began, by the wall clock of who asked. */
  readonly atMs: number;
  /** From then until this record was made. */
  readonly tookMs: number;
  /** What was asked about: everything later than that. */
  readonly sinceMs: number;
  /** Everything that was listed between these stands before this record, by this question and by those before it. */
  readonly fromMs: number;
  readonly throughMs: number;
  /** Whoever asked had read the log up to there when the question began: what stands there was appended before it. */
  readonly after: number;
  /** Another source has told what this one should have told. */
  readonly isSuspect?: true;
}

/** Which of all records of one run of a sidecar this is: whoever reads the log in order notices by it that some are missing. */
export interface Count {
  readonly run: string;
  /** Over which of its connections it was appended, and which one of that; both from 1. What comes after one that failed counts as another connection. */
  readonly link: number;
  readonly nth: number;
  /** The log had all up to that one of this connection for sure, when this one was made; 0: none yet. */
  readonly sure: number;
  /** The same of the last connection before this one of which it had any for sure. */
  readonly before?: { readonly link: number; readonly sure: number };
}

/** What a record says. `other`: something that this version does not know. */
export type FleetRecord = SealableRecord | ({ readonly kind: 'other' } & Counted);

/** What may be appended. */
export type SealableRecord = Counted &
  (
    | { readonly kind: 'entry'; readonly entry: Entry & { readonly from: string } }
    | { readonly kind: 'presence'; readonly presence: Presence }
    | { readonly kind: 'polled'; readonly polled: Polled }
  );

interface Counted {
  readonly count?: Count;
}

/**
 * A record, opened. `unknown-key`: its key is not here; `label` tells it from others, in 16 hex digits. `unauthenticated`: nobody with that
 * key has written it.
 */
export type OpenedRecord =
  | FleetRecord
  | ({ readonly kind: 'unauthenticated' } & Counted)
  | ({ readonly kind: 'unknown-key'; readonly label: string } & Counted);

/** Keys of a deployment, ready for records. */
export interface RecordKey {
  readonly label: Buffer;
  readonly secret: Buffer;
}

// `SGF1`, 8 bytes that tell the key, 32 bytes HMAC-SHA-256 over those and what follows, JSON in UTF-8.
const magic = Buffer.from('SGF1', 'latin1');
const labelEnd = 12;
const macEnd = 44;
/** Longer ones are nobody's: an entry has a few hundred bytes. */
const longestRecordBytes = 262_144;

/** Once, not for each record. */
export function recordKeyOf(key: DeploymentKey): RecordKey {
  const label = createHmac('sha256', deriveKey(key.secret, 'fleet label')).update('').digest().subarray(0, 8);
  return { label, secret: deriveKey(key.secret, 'fleet record') };
}

/** As it stands in the log. Throws INTERNAL / ENTRY_UNWRITABLE. */
export function sealRecord(key: RecordKey, record: SealableRecord): Uint8Array {
  const said = record.kind === 'entry' ? { ...record, entry: writtenEntry(record.entry) } : record;
  const count = record.count && writtenCount(record.count);
  // Told again in another log it may come to stand at the same position: it must not be the same record there.
  const body = Buffer.from(JSON.stringify({ ...said, count, salt: randomBytes(8).toString('hex') }), 'utf8');
  const head = Buffer.concat([magic, key.label]);
  return Buffer.concat([head, macOf(key, head, body), body]);
}

/** What it says. `keys`: every accepted one. Total. */
export function openRecord(keys: readonly RecordKey[], bytes: Uint8Array): OpenedRecord {
  const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isOurs = record.length > macEnd && record.length <= longestRecordBytes && record.subarray(0, magic.length).equals(magic);
  if (!isOurs) return { kind: 'unauthenticated' };
  const written = record.subarray(magic.length, labelEnd);
  const key = keys.find(({ label }) => label.equals(written));
  if (key === undefined) return { kind: 'unknown-key', label: written.toString('hex') };
  const body = record.subarray(macEnd);
  const mac = macOf(key, record.subarray(0, labelEnd), body);
  if (!timingSafeEqual(mac, record.subarray(labelEnd, macEnd))) return { kind: 'unauthenticated' };
  return said(body.toString('utf8'));
}

/** Tells a record from every other: 32 hex digits. */
export function digestOfRecord(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32);
}

function macOf({ secret }: RecordKey, head: Uint8Array, body: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(head).update(body).digest();
}

function said(text: string): FleetRecord {
  const record = objectIn(parsed(text));
  const count = countIn(record['count']);
  return count === undefined ? told(record) : { ...told(record), count };
}

function told(record: Readonly<Record<string, unknown>>): FleetRecord {
  if (record['kind'] === 'presence') return presenceIn(objectIn(record['presence']));
  if (record['kind'] === 'polled') return polledIn(objectIn(record['polled']));
  if (record['kind'] !== 'entry') return { kind: 'other' };
  const entry = understand(record['entry']);
  return { kind: 'entry', entry: { ...entry, from: entry.from ?? '' } };
}

/** Of each record, so in few bytes. */
function writtenCount({ run, link, nth, sure, before }: Count): readonly unknown[] {
  return [run, link, nth, sure, ...(before ? [before.link, before.sure] : [])];
}

function countIn(value: unknown): Count | undefined {
  const [run, ...numbers]: readonly unknown[] = Array.isArray(value) ? value : [];
  const [link, nth, sure, beforeLink, beforeSure] = numbers.map(numberIn);
  if (typeof run !== 'string' || link === undefined || nth === undefined || sure === undefined) return undefined;
  const count = { run, link, nth, sure };
  return beforeLink === undefined || beforeSure === undefined ? count : { ...count, before: { link: beforeLink, sure: beforeSure } };
}

function presenceIn(fields: Readonly<Record<string, unknown>>): FleetRecord {
  const journal = textIn(fields['journal']);
  if (journal === undefined) return { kind: 'other' };
  const asks = textIn(fields['asks']);
  return {
    kind: 'presence',
    presence: {
      journal,
      name: textIn(fields['name']) ?? '',
      run: textIn(fields['run']) ?? '',
      turn: numberIn(fields['turn']) ?? 0,
      atMs: numberIn(fields['atMs']) ?? 0,
      head: numberIn(fields['head']) ?? 0,
      isWhole: fields['isWhole'] === true,
      answers: textsIn(fields['answers']),
      calls: textsIn(fields['calls']),
      ...(asks === undefined ? {} : { asks }),
      ...(fields['isLeaving'] === true ? { isLeaving: true as const } : {}),
    },
  };
}

/** Whole, or nothing that is known here: what is left out would be guessed. */
function polledIn(fields: Readonly<Record<string, unknown>>): FleetRecord {
  const [journal, issuer, source] = ['journal', 'issuer', 'source'].map((name) => textIn(fields[name]));
  const numbers = ['atMs', 'tookMs', 'sinceMs', 'fromMs', 'throughMs', 'after'].map((name) => numberIn(fields[name]));
  const [atMs, tookMs, sinceMs, fromMs, throughMs, after] = numbers;
  if (journal === undefined || issuer === undefined || source === undefined) return { kind: 'other' };
  if (atMs === undefined || tookMs === undefined || sinceMs === undefined) return { kind: 'other' };
  if (fromMs === undefined || throughMs === undefined || after === undefined) return { kind: 'other' };
  const isSuspect = fields['isSuspect'] === true ? { isSuspect: true as const } : {};
  return { kind: 'polled', polled: { journal, issuer, source, atMs, tookMs, sinceMs, fromMs, throughMs, after, ...isSuspect } };
}

function textsIn(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
