// The shared tier in memcached: sealed records under names that tell nothing, on servers that may fail in any way.

import type { DeploymentKey } from '../core/tag.ts';
import type { Clock, SharedCache, SharedFinding, Telemetry } from '../ports.ts';
import type { BreakerLimits } from './breaker.ts';
import { type Client, createClient } from './client.ts';
import type { ConnectionLimits } from './connection.ts';
import type { ServerAddress, TlsOptions } from './dial.ts';
import { createPlaces, envelopeBytes, type Place } from './sealing.ts';
import { createServer, nameOf } from './server.ts';

/** Where the tier is, and under which keys its records lie. */
export interface MemcachedOptions {
  /** At least one; one that is named twice is one. Names are resolved for every connection. */
  readonly servers: readonly ServerAddress[];
  /** Undefined: in clear; records are sealed all the same. */
  readonly tls: TlsOptions | undefined;
  /** Of every operation. */
  readonly deadlineMs: number;
  readonly breaker: BreakerLimits;
  /** Newest first. Every accepted one is looked under, and the newest is written under. */
  readonly keys: readonly [DeploymentKey, ...DeploymentKey[]];
}

/** What the tier needs of the world. */
export interface MemcachedDeps {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

const kiB = 1024;
/** memcached's largest item is 1 MiB with what it adds itself: some hundred bytes of header, key and chunks. */
const largestItemBytes = kiB * kiB - kiB;
/** A longer life would be read as a date of 1970 and later, and the record would be gone at once. */
const longestSeconds = 30 * 24 * 60 * 60;
/** For a connection to stand, TLS and all; requests wait for it no longer than their deadline. */
const connectMs = 1_000;

const connectionLimits = {
  maxBodyBytes: kiB * kiB + kiB,
  // Sixteen of the largest values.
  maxQueuedBytes: 16 * kiB * kiB,
  maxInFlight: 1_024,
  // So many answers in a row that come late or never, while others come: the connection is not worth keeping.
  maxOwed: 128,
} satisfies Partial<ConnectionLimits>;

/** The tier. Nothing is connected before the first question. */
export function createMemcached(options: MemcachedOptions, deps: MemcachedDeps): SharedCache {
  const { clock } = deps;
  const { deadlineMs } = options;
  const limits = { ...connectionLimits, deadlineMs, connectMs: Math.max(connectMs, deadlineMs) };
  const addresses = new Map(options.servers.map((address) => [nameOf(address), address]));
  const servers = [...addresses.values()].map((address) => createServer(address, { ...options, limits }, deps));
  const client = createClient(servers);
  const placesOf = createPlaces(options.keys);
  const largestValueBytes = largestItemBytes - envelopeBytes;

  const isStorable = (value: Uint8Array, lifeMs: number): boolean => lifeMs > 0 && value.length <= largestValueBytes;
  const itemOf = (place: Place, value: Uint8Array, lifeMs: number): Item => {
    const keptMs = Math.min(lifeMs, longestSeconds * 1_000);
    return {
      key: place.key,
      value: place.seal(value, Math.floor(clock.nowMs() + keptMs)),
      // The seconds of memcached tick, they do not run: without one more a record could end at once. Its own end is exact.
      seconds: Math.min(Math.ceil(keptMs / 1_000) + 1, longestSeconds),
    };
  };

  return {
    largestValueBytes,
    async get(name) {
      const looks = placesOf(name).map((place) => lookAt(client, place, clock));
      const others: SharedFinding['kind'][] = [];
      for (const look of looks) {
        const finding = await look;
        if (finding.kind === 'found') return finding;
        others.push(finding.kind);
      }
      // It is missing only where every place is known to be empty.
      return { kind: (['unreachable', 'unreadable'] as const).find((kind) => others.includes(kind)) ?? 'missing' };
    },
    async set(name, value, lifeMs) {
      if (!isStorable(value, lifeMs)) return false;
      const [newest, ...others] = placesOf(name);
      const { key, value: sealed, seconds } = itemOf(newest, value, lifeMs);
      // What it replaces may lie under another key: who has that one as its newest would go on finding it.
      const [stored] = await Promise.all([
        succeeds(client.set(key, sealed, seconds)),
        ...others.map((place) => succeeds(client.delete(place.key))),
      ]);
      return stored;
    },
    async add(name, value, lifeMs) {
      if (!isStorable(value, lifeMs)) return 'unreachable';
      // Every sidecar has the same order, whichever key is its newest: of those that share a place one is the first.
      const places = [...placesOf(name)].sort((a, b) => (a.keyId < b.keyId ? -1 : 1));
      const added = addAll(
        client,
        places.map((place) => itemOf(place, value, lifeMs)),
      );
      return places.length === 1 ? added : within(deadlineMs, added);
    },
    async remove(name) {
      const gone = await Promise.all(placesOf(name).map((place) => succeeds(client.delete(place.key))));
      return gone.every((certainly) => certainly);
    },
    health: () => servers.map((server) => ({ server: server.name, health: server.health() })),
    async close() {
      client.close();
    },
  };
}

/** What is sent to be kept. */
interface Item {
  readonly key: string;
  readonly value: Buffer;
  readonly seconds: number;
}

/** Why nobody can tell, the server has counted and said. */
async function lookAt(client: Client, place: Place, clock: Clock): Promise<SharedFinding> {
  const answer = await client.get(place.key).then(
    (envelope) => ({ envelope }),
    () => undefined,
  );
  if (answer === undefined) return { kind: 'unreachable' };
  if (answer.envelope === undefined) return { kind: 'missing' };
  const opened = place.open(answer.envelope);
  if (opened === undefined) return { kind: 'unreadable' };
  return opened.endsAtMs > clock.nowMs() ? { kind: 'found', value: opened.value } : { kind: 'missing' };
}

/**
 * Adds all of `items`, one after the other, or none: a sidecar that knows only some of these keys is kept out by its own, and the other
 * way round. Where a server cannot be asked the rest is added all the same, but nobody can be told that it is alone.
 */
async function addAll(client: Client, items: readonly Item[]): Promise<'added' | 'exists' | 'unreachable'> {
  const taken: string[] = [];
  for (const item of items) {
    const outcome = await addOne(client, item);
    if (outcome === 'added') taken.push(item.key);
    if (outcome !== 'exists') continue;
    // Given back without waiting: it was ours a moment ago, and nobody can have added there since.
    for (const ours of taken) void succeeds(client.delete(ours));
    return 'exists';
  }
  return taken.length === items.length ? 'added' : 'unreachable';
}

function addOne(client: Client, { key, value, seconds }: Item): Promise<'added' | 'exists' | 'unreachable'> {
  return client.add(key, value, seconds).then(
    (added) => (added ? 'added' : 'exists'),
    () => 'unreachable',
  );
}

/** Whether it went well; why it did not, the server has counted and said. */
function succeeds(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => true,
    () => false,
  );
}

/** Several requests in a row have one deadline together. */
async function within(
  deadlineMs: number,
  outcome: Promise<'added' | 'exists' | 'unreachable'>,
): Promise<'added' | 'exists' | 'unreachable'> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<'unreachable'>((resolve) => {
    timer = setTimeout(resolve, deadlineMs, 'unreachable').unref();
  });
  return Promise.race([outcome, over]).finally(() => clearTimeout(timer));
}
