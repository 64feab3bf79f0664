// Names that tell nothing and values that only this deployment can have written: how a record lies in memcached.

import { createHmac } from 'node:crypto';
import { deriveKey, openWith, sealBytes, sealWith } from '../core/sealed.ts';
import type { DeploymentKey } from '../core/tag.ts';

/** Where a record lies under one deployment key. */
export interface Place {
  /** Of the deployment key: the same on every sidecar that has it, whatever its file is called. */
  readonly keyId: string;
  /** The key in memcached: 47 characters. Nobody without the deployment key can tell it from the name, or the name from it. */
  readonly key: string;
  /** `value`, readable in this place only, until `endsAtMs` (milliseconds since the epoch, from 0 to below 2^48). */
  seal(value: Uint8Array, endsAtMs: number): Buffer;
  /** What was sealed for this place; undefined where these bytes were not. Never throws. */
  open(envelope: Uint8Array): Opened | undefined;
}

/** A record that was sealed for its place. */
export interface Opened {
  readonly value: Uint8Array;
  /** Exclusive. */
  readonly endsAtMs: number;
}

/** Where a record may lie: under the newest deployment key first, then under each other that is accepted. No two are the same. */
export type Places = (name: string) => readonly [Place, ...Place[]];

/** An envelope of format 1: version, key id, end of the record, then what core/sealed.ts makes. */
const version = 1;
const idBytes = 8;
const endBytes = 6;
const headerBytes = 1 + idBytes + endBytes;

/** What an envelope adds to a value. */
export const envelopeBytes: number = headerBytes + sealBytes;

interface Keys {
  readonly id: Buffer;
  readonly naming: Buffer;
  readonly sealing: Buffer;
}

/** Places under `keys`, newest first. Cost of one: an HMAC under each; sealing and opening another. */
export function createPlaces(keys: readonly [DeploymentKey, ...DeploymentKey[]]): Places {
  const [newest, ...others] = keys;
  const first = keysOf(newest);
  // One key in two files is one place: a lease would otherwise stand in its own way.
  const rest = others.map(keysOf).filter((one, at, all) => [first, ...all.slice(0, at)].every((other) => !other.id.equals(one.id)));
  return (name) => [placeOf(first, name), ...rest.map((one) => placeOf(one, name))];
}

function keysOf({ secret }: DeploymentKey): Keys {
  return {
    id: deriveKey(secret, 'shared cache key id').subarray(0, idBytes),
    naming: deriveKey(secret, 'shared cache names'),
    sealing: deriveKey(secret, 'shared cache values'),
  };
}

function placeOf(keys: Keys, name: string): Place {
  // UTF-16, since UTF-8 has one spelling for all halves of a surrogate pair: two names would be one.
  const key = `sg1:${createHmac('sha256', keys.naming).update(name, 'utf16le').digest('base64url')}`;
  const keyId = keys.id.toString('hex');
  // A key for every record: random nonces are good for some billions of values under one key, and a fleet stores that many.
  const recordKey = (): Buffer => createHmac('sha256', keys.sealing).update(key, 'latin1').digest();
  const bound = (header: Buffer): string => `${header.toString('hex')} ${key}`;
  return {
    keyId,
    key,
    seal(value, endsAtMs) {
      const header = Buffer.alloc(headerBytes);
      header[0] = version;
      keys.id.copy(header, 1);
      header.writeUIntBE(endsAtMs, 1 + idBytes, endBytes);
      return Buffer.concat([header, sealWith(recordKey(), value, bound(header))]);
    },
    open(envelope) {
      if (envelope.length < envelopeBytes) return undefined;
      const header = Buffer.from(envelope.subarray(0, headerBytes));
      if (header[0] !== version || !header.subarray(1, 1 + idBytes).equals(keys.id)) return undefined;
      const value = openWith(recordKey(), envelope.subarray(headerBytes), bound(header));
      return value && { value, endsAtMs: header.readUIntBE(1 + idBytes, endBytes) };
    },
  };
}
