// Reads a ValidateRequest: the shape that nearly every call has by hand, all others by the generated code.

import { isAscii } from 'node:buffer';
import type { Access } from '../core/access-rules.ts';
import type { CatalogFilter } from '../core/catalog.ts';
import type { Demand } from '../core/decision.ts';
import { SidecarError } from '../core/errors.ts';
import { type Demand as DemandMessage, ValidateRequest } from '../gen/sidegate/v1/token_service.ts';
import type { More, Question } from '../service/question.ts';
import { cursorFromMessage } from '../wire/cursor.ts';
import { msFromDuration } from '../wire/time.ts';
import { rejectUnknownFields } from '../wire/unknown-fields.ts';
import { canonicalDigest } from './canonical-bytes.ts';

/** A question with what the answer shall hold. */
export interface ReadQuestion extends Question {
  readonly wantsClaims: boolean;
  readonly wantsTags: boolean;
  readonly wantsDetails: boolean;
  readonly wantsHandle: boolean;
  /** Of the catalog; undefined: none is wanted. */
  readonly catalogFilter: CatalogFilter | undefined;
}

const tokenField = 0x0a;

/**
 * The question in `bytes`, or why it is none: an error inside a value, since a deserializer that throws would be reported as INTERNAL.
 * A request of a token alone costs the token's digest. Only ASCII goes that way: latin1 would read a no-break space where UTF-8 has
 * half a character, and white space around a token is ignored.
 */
export function readValidateRequest(bytes: Buffer): ReadQuestion | SidecarError {
  const token = tokenAlone(bytes);
  if (token) return new TokenAlone(token);
  try {
    return questionOf(ValidateRequest.decode(bytes));
  } catch (error) {
    if (error instanceof SidecarError) return error;
    return new SidecarError('INVALID_ARGUMENT', 'the request is not a ValidateRequest', { reason: 'MESSAGE_MALFORMED', cause: error });
  }
}

/** Nothing is asked but whether the token is good. No string is made of it before somebody wants one: a hit does not. */
class TokenAlone implements ReadQuestion {
  readonly #bytes: Buffer;
  readonly digest: string | undefined;
  readonly demand = undefined;
  readonly atLeastAsFresh = undefined;
  readonly maxStalenessMs = undefined;
  readonly more = undefined;
  readonly wantsClaims = false;
  readonly wantsTags = false;
  readonly wantsDetails = false;
  readonly wantsHandle = false;
  readonly catalogFilter = undefined;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.digest = canonicalDigest(bytes);
  }

  get raw(): string {
    return this.#bytes.toString('latin1');
  }
}

/** The bytes of field 1, where there is nothing else and they are ASCII. */
function tokenAlone(bytes: Buffer): Buffer | undefined {
  if (bytes[0] !== tokenField) return undefined;
  let length = 0;
  let at = 1;
  for (let shift = 0; shift <= 21; shift += 7) {
    const byte = bytes[at] ?? 0x80;
    at += 1;
    length |= (byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (at + length !== bytes.length) return undefined;
    const token = bytes.subarray(at);
    return isAscii(token) ? token : undefined;
  }
  return undefined;
}

/** What an answer shall hold that nobody asked a question for: as Include says. */
export function askedFor(include: ValidateRequest['include']): ReadQuestion {
  return questionOf(ValidateRequest.fromPartial({ include: include ?? {} }));
}

function questionOf(message: ValidateRequest): ReadQuestion {
  rejectUnknownFields(message);
  const { credential, include, atLeastAsFresh: fresh } = message;
  return {
    raw: credential?.$case === 'token' ? credential.value : '',
    demand: message.demand && demandOf(message.demand),
    atLeastAsFresh: fresh && (fresh.$case === 'entryId' ? { entryId: fresh.value } : { cursor: requiredCursor(fresh.value) }),
    maxStalenessMs: msFromDuration(message.maxStaleness, 'max_staleness'),
    more: moreOf(message),
    wantsClaims: include?.claims ?? false,
    wantsTags: include?.tags ?? false,
    wantsDetails: include?.details ?? false,
    wantsHandle: include?.handle ?? false,
    catalogFilter: include?.catalog ? { regions: include.catalogRegions, services: include.catalogServices } : undefined,
  };
}

/** Undefined where there is nothing of the kind: then a hit looks no further. */
function moreOf({ credential, include, serviceToken, staleIfUnavailable }: ValidateRequest): More | undefined {
  const staleIfUnavailableMs = msFromDuration(staleIfUnavailable, 'stale_if_unavailable');
  const narrowsNothing = !include?.catalog && (include?.catalogRegions.length || include?.catalogServices.length);
  if (narrowsNothing) {
    throw new SidecarError('INVALID_ARGUMENT', 'catalog_regions and catalog_services need catalog', { reason: 'CATALOG_NOT_WANTED' });
  }
  if (credential?.$case === 'handle' && credential.value === '') {
    throw new SidecarError('INVALID_ARGUMENT', 'the handle is empty', { reason: 'HANDLE_MALFORMED' });
  }
  const more: More = {
    ...(credential?.$case === 'handle' ? { handle: credential.value } : {}),
    ...(serviceToken === '' ? {} : { serviceToken }),
    ...(include?.catalog ? { catalog: true } : {}),
    ...(staleIfUnavailableMs === undefined ? {} : { staleIfUnavailableMs }),
  };
  return Object.keys(more).length === 0 ? undefined : more;
}

function requiredCursor(message: Parameters<typeof cursorFromMessage>[0]): NonNullable<ReturnType<typeof cursorFromMessage>> {
  const cursor = cursorFromMessage(message);
  if (!cursor) throw new SidecarError('INVALID_ARGUMENT', 'the cursor is empty', { reason: 'CURSOR_MALFORMED' });
  return cursor;
}

/** A demand that names nothing demands nothing; one that names an empty id is a mistake that must not pass as "any". */
function demandOf(message: DemandMessage): Demand | undefined {
  const { scope, anyOfIssuers, anyOfAudiences, anyOfRoles, allOfScopes, certificateThumbprint, access } = message;
  if (scope && !scope.value) throw new SidecarError('INVALID_ARGUMENT', 'the demanded scope is empty', { reason: 'DEMAND_EMPTY_SCOPE' });
  return {
    ...(scope ? { scope: scopeOf(scope) } : {}),
    anyOfIssuers,
    anyOfAudiences,
    anyOfRoles,
    allOfScopes,
    ...(certificateThumbprint ? { certificateThumbprint } : {}),
    ...(access ? { access: accessOf(access) } : {}),
  };
}

/** No server takes longer ones, and each rule of the token costs its length. */
const longestPath = 8192;

/** Half a request would be judged as another one. */
function accessOf({ service, method, path }: NonNullable<DemandMessage['access']>): Access {
  if (path.length > longestPath) {
    throw new SidecarError('INVALID_ARGUMENT', `a path has at most ${longestPath} characters`, { reason: 'DEMAND_ACCESS_TOO_LONG' });
  }
  if (service && method && path) return { service, method: method.toUpperCase(), path };
  throw new SidecarError('INVALID_ARGUMENT', 'access needs service, method and path', { reason: 'DEMAND_ACCESS_INCOMPLETE' });
}

function scopeOf(scope: NonNullable<DemandMessage['scope']>): NonNullable<Demand['scope']> {
  if (scope.$case === 'projectId') return { kind: 'project', id: scope.value };
  if (scope.$case === 'domainId') return { kind: 'domain', id: scope.value };
  return { kind: 'system' };
}
