// The name of an invalidation that is the same on every sidecar (S14).

import { createHash, randomBytes } from 'node:crypto';

/** Who asks for what, told apart from every other: the key under which a retry is known. */
export interface RequestName {
  readonly caller: string;
  readonly requestId: string;
}

/**
 * The second of the first appending as 8 hex digits, then 32 hex digits of SHA-256(caller, request id): 40 characters. Where it is not the
 * same wherever it is told, `caller` names the journal too.
 */
export function entryIdOf(name: RequestName, appendedAtMs: number): string {
  const second = Math.max(0, Math.floor(appendedAtMs / 1000));
  return second.toString(16).padStart(8, '0') + onceKeyOf(name).slice(0, 32);
}

/** SHA-256(caller, request id), 64 hex digits: the journal's key for idempotency. */
export function onceKeyOf(name: RequestName): string {
  return createHash('sha256')
    .update(JSON.stringify([name.caller, name.requestId]))
    .digest('hex');
}

/** A request id for callers that sent none: a retry of theirs is a second entry. */
export function freshRequestId(): string {
  return randomBytes(16).toString('hex');
}

/** When the entry of this id was first appended, in milliseconds (whole seconds); undefined where it is not an id of ours. */
export function appendedAtMsOf(entryId: string): number | undefined {
  return /^[0-9a-f]{40}$/.test(entryId) ? Number.parseInt(entryId.slice(0, 8), 16) * 1000 : undefined;
}
