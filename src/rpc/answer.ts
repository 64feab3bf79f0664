// Writes a ValidateResponse: an active answer by hand from bytes that are there already, all others by the generated code.

import { type CatalogFilter, filterCatalog, readCatalog } from '../core/catalog.ts';
import type { Cursor, PlacedEntry } from '../core/invalidation.ts';
import { Duration } from '../gen/google/protobuf/duration.ts';
import {
  type CatalogService as CatalogServiceMessage,
  Cursor as CursorMessage,
  InactiveReason,
  Provenance,
  ValidateResponse,
} from '../gen/sidegate/v1/token_service.ts';
import type { Known } from '../service/known.ts';
import type { Answer } from '../service/question.ts';
import { handleOf } from '../service/tier/handles.ts';
import { cursorToMessage } from '../wire/cursor.ts';
import { invalidationToMessage } from '../wire/invalidation.ts';
import { dateFromMs, durationFromMs } from '../wire/time.ts';
import { tokenToMessage } from '../wire/token.ts';
import type { ReadQuestion } from './validate-request.ts';

/** What of an answer only the journal's side knows. */
export interface AnswerContext {
  readonly asOf: Cursor;
  /** Handles are configured, so that one may be told. */
  readonly handles?: boolean;
  /** What invalidations of an issuer's catalogs require: an answer that carries one has this tag too. */
  readonly catalogTag: (issuer: string) => bigint;
  /** The entry that killed it, for callers that may see it. */
  readonly killer?: { readonly placed: PlacedEntry; readonly tags: readonly bigint[] } | undefined;
}

const fingerprintLength = 32;
const field = { active: 0x08, token: 0x1a, fingerprint: 0x2a, asOf: 0x42, maxAge: 0x4a, tags: 0x52, confirmedAt: 0x5a, provenance: 0x60 };

/** Writes answers; remembers the bytes of the newest cursor, which most answers share. */
export class AnswerWriter {
  #cursor: Cursor = { journal: '', revision: 0 as Cursor['revision'] };
  #cursorBytes: Uint8Array = new Uint8Array();

  /** The answer in bytes. An active one copies the token's bytes; nothing is decoded or built. */
  write(answer: Answer, question: ReadQuestion, context: AnswerContext): Uint8Array {
    const { known } = answer;
    const plain = answer.decision.active && known !== undefined && answer.degradedBy.length === 0 && answer.service === undefined;
    if (plain && !question.wantsClaims && !question.wantsDetails && !question.wantsHandle && !question.catalogFilter) {
      return this.#active(answer, known, question.wantsTags, context.asOf);
    }
    return ValidateResponse.encode(messageOf(answer, question, context)).finish();
  }

  #active(answer: Answer, known: Known, wantsTags: boolean, asOf: Cursor): Buffer {
    const cursor = this.#bytesOf(asOf);
    const maxAgeSeconds = Math.floor(answer.maxAgeMs / 1000);
    const maxAgeNanos = (answer.maxAgeMs % 1000) * 1_000_000;
    const confirmedSeconds = Math.floor(known.began.wallMs / 1000);
    const confirmedNanos = Math.floor(known.began.wallMs % 1000) * 1_000_000;
    const maxAgeSize = timeSize(maxAgeSeconds, maxAgeNanos);
    const confirmedSize = timeSize(confirmedSeconds, confirmedNanos);
    const { encoded, attributes } = known;
    const tagBytes = wantsTags ? attributes.tags.byteLength : 0;
    const size =
      2 +
      1 +
      varintSize(encoded.length) +
      encoded.length +
      2 +
      fingerprintLength +
      1 +
      varintSize(cursor.length) +
      cursor.length +
      (answer.maxAgeMs > 0 ? 2 + maxAgeSize : 0) +
      (tagBytes > 0 ? 1 + varintSize(tagBytes) + tagBytes : 0) +
      2 +
      confirmedSize +
      2;
    const out = Buffer.allocUnsafe(size);
    let at = 0;
    out[at++] = field.active;
    out[at++] = 1;
    out[at++] = field.token;
    at = writeVarint(out, at, encoded.length);
    out.set(encoded, at);
    at += encoded.length;
    out[at++] = field.fingerprint;
    out[at++] = fingerprintLength;
    at += out.write(answer.fingerprint, at, fingerprintLength, 'latin1');
    out[at++] = field.asOf;
    at = writeVarint(out, at, cursor.length);
    out.set(cursor, at);
    at += cursor.length;
    if (answer.maxAgeMs > 0) {
      out[at++] = field.maxAge;
      out[at++] = maxAgeSize;
      at = writeTime(out, at, maxAgeSeconds, maxAgeNanos);
    }
    if (tagBytes > 0) {
      out[at++] = field.tags;
      at = writeVarint(out, at, tagBytes);
      for (const half of attributes.tags) at = out.writeUInt32LE(half, at);
    }
    out[at++] = field.confirmedAt;
    out[at++] = confirmedSize;
    at = writeTime(out, at, confirmedSeconds, confirmedNanos);
    out[at++] = field.provenance;
    out[at++] = Provenance[answer.provenance ?? 'UNSPECIFIED'];
    return out;
  }

  #bytesOf(cursor: Cursor): Uint8Array {
    if (cursor.revision !== this.#cursor.revision || cursor.journal !== this.#cursor.journal) {
      this.#cursorBytes = CursorMessage.encode(cursorToMessage(cursor)).finish();
      this.#cursor = cursor;
    }
    return this.#cursorBytes;
  }
}

/** The answer as a message: what is rare, and what the hand-written bytes are tested against. */
export function messageOf(answer: Answer, question: ReadQuestion, context: AnswerContext): ValidateResponse {
  const { asOf, killer } = context;
  const { decision, known } = answer;
  const message = ValidateResponse.fromPartial({
    active: decision.active,
    reason: decision.active ? InactiveReason.UNSPECIFIED : InactiveReason[decision.reason],
    fingerprint: answer.fingerprint,
    asOf: cursorToMessage(asOf),
    provenance: Provenance[answer.provenance ?? 'UNSPECIFIED'],
    degraded: answer.degradedBy.length > 0,
    degradedBy: [...answer.degradedBy],
  });
  if (answer.maxAgeMs > 0) message.maxAge = Duration.fromPartial(durationFromMs(answer.maxAgeMs));
  if (known) message.confirmedAt = dateFromMs(known.began.wallMs);
  if (known && (decision.active || question.wantsDetails)) {
    const claimsJson = Buffer.from(known.claims).toString('utf8');
    message.token = tokenToMessage(claimsJson ? { ...known.token(), claimsJson } : known.token(), { claims: question.wantsClaims });
    if (answer.catalog && question.catalogFilter) message.token.catalog = catalogToMessage(answer.catalog, question.catalogFilter);
    // Whatever kills either of them ends the answer.
    if (question.wantsTags) message.tags = [...new Set([known, answer.service].flatMap((one) => (one ? [...tagsOf(one)] : [])))];
    if (question.wantsTags && answer.catalog && question.catalogFilter) message.tags.push(context.catalogTag(known.issuer.name));
    if (question.wantsHandle && context.handles && known.digest !== undefined) message.handle = handleOf(known.digest);
  }
  if (answer.service) message.service = tokenToMessage(answer.service.token(), { claims: false });
  if (answer.revoked && !decision.active && decision.reason === 'REVOKED') {
    const { revoked } = answer;
    message.revokedBy = killer
      ? invalidationToMessage(killer.placed, asOf.journal, killer.tags, true)
      : {
          cursor: { journal: asOf.journal, revision: BigInt(revoked.revision) },
          effect: 1,
          tags: [],
          issuedBefore: dateFromMs(revoked.issuedBeforeMs),
          learnedAt: dateFromMs(revoked.learnedAtMs),
          forgetAt: dateFromMs(revoked.forgetAtMs),
          entryId: '',
          spread: undefined,
        };
  }
  return message;
}

function catalogToMessage(json: Uint8Array, filter: CatalogFilter): CatalogServiceMessage[] {
  const services = filterCatalog(readCatalog(Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString('utf8')), filter);
  return services.map((service) => ({ ...service, endpoints: service.endpoints.map((endpoint) => ({ ...endpoint })) }));
}

function* tagsOf(known: Known): Generator<bigint> {
  const { tags } = known.attributes;
  for (let at = 0; at < tags.length; at += 2) yield (BigInt(tags[at + 1] ?? 0) << 32n) | BigInt(tags[at] ?? 0);
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size += 1;
  return size;
}

function writeVarint(out: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= 0x80) {
    out[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  out[at++] = rest;
  return at;
}

/** A Timestamp or Duration: seconds in field 1, nanoseconds in field 2; neither where it is zero. */
function timeSize(seconds: number, nanos: number): number {
  return (seconds > 0 ? 1 + varintSize(seconds) : 0) + (nanos > 0 ? 1 + varintSize(nanos) : 0);
}

function writeTime(out: Buffer, start: number, seconds: number, nanos: number): number {
  let at = start;
  if (seconds > 0) {
    out[at++] = 0x08;
    at = writeVarint(out, at, seconds);
  }
  if (nanos > 0) {
    out[at++] = 0x10;
    at = writeVarint(out, at, nanos);
  }
  return at;
}
