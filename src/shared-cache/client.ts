// memjs's client over our own servers: it keeps the opcodes, the statuses and the calls; where a key lies and its numbers are ours.
/// <reference path="./memjs.d.ts" />

import { Client as MemjsClient } from 'memjs';
import { createRing, type Ring } from './ring.ts';
import type { Server } from './server.ts';

/** The four requests that the tier needs. Every one rejects where its key's server gave no good answer. */
export interface Client {
  /** Undefined: it has none. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** `seconds`: from 1 to 30 days; 0 would mean for ever, more a date. */
  set(key: string, value: Buffer, seconds: number): Promise<void>;
  /** False where there is something under the key. */
  add(key: string, value: Buffer, seconds: number): Promise<boolean>;
  /** False where there was nothing. */
  delete(key: string): Promise<boolean>;
  close(): void;
}

class OurClient extends MemjsClient {
  readonly #servers: readonly Server[];
  readonly #ring: Ring;

  constructor(servers: readonly Server[], firstOpaque: number) {
    // One try: a second one would take a second deadline. No failover: a neighbour's copy would be a stale one when the server returns.
    super(servers, { retries: 1, failover: false, logger: { log: () => undefined } });
    this.#servers = servers;
    this.#ring = createRing(servers.map(({ name }) => name));
    this.seq = firstOpaque;
  }

  override getServer(key: string): number {
    return this.#ring(key);
  }

  // memjs's own turns negative after 2^31 requests, and throws from then on.
  override incrSeq(): void {
    do {
      this.seq = (this.seq + 1) >>> 0;
    } while (this.#servers.some((server) => server.owes(this.seq)));
  }
}

/** A client of `servers`: at least one, no two of one name. `firstOpaque`: the number before the first request's, for tests. */
export function createClient(servers: readonly Server[], firstOpaque = 0): Client {
  const client = new OurClient(servers, firstOpaque);
  return {
    get: async (key) => (await client.get(key)).value ?? undefined,
    set: async (key, value, seconds) => void (await client.set(key, value, { expires: seconds })),
    add: (key, value, seconds) => client.add(key, value, { expires: seconds }),
    delete: (key) => client.delete(key),
    close: () => client.close(),
  };
}
