// How often Keystone is asked about each token, and how often something was told that may concern it: S6 says what the one may be of the other.

import type { Client } from '../../src/client/index.ts';
import { fits } from '../../src/client/tagged-answers.ts';
import type { CountingProxy } from '../e2e/lab/counting-proxy.ts';

/** What one sidecar asks, and hears. */
export interface Counter {
  /** From now on. */
  forget(): void;
  /** Validations of the token that it has asked Keystone for. */
  validations(token: string): number;
  /** Entries of its journal that may concern a token with these tags: each has its facts fetched again. */
  invalidations(tags: readonly bigint[]): number;
  /** All of those entries. */
  entries(): number;
  /** Since when none has come, by the clock of `performance.now`. */
  quietSinceMs(): number;
  close(): void;
}

/** Starts to count. `proxy` is the sidecar's alone. */
export function countOf(proxy: CountingProxy, client: Client): Counter {
  const asked = new Map<string, number>();
  let heard: (readonly bigint[])[] = [];
  let lastHeardMs = performance.now();
  proxy.misbehave(({ method, path, headers }) => {
    const subject = headers['x-subject-token'];
    if (method === 'GET' && path === '/v3/auth/tokens' && typeof subject === 'string') asked.set(subject, (asked.get(subject) ?? 0) + 1);
    return undefined;
  });
  const ending = new AbortController();
  const listening = (async () => {
    for await (const event of client.watch({ signal: ending.signal })) {
      if (event.kind !== 'invalidation') continue;
      heard.push(event.tags);
      lastHeardMs = performance.now();
    }
  })();
  // It ends with the client, too.
  listening.catch(() => undefined);
  return {
    forget() {
      asked.clear();
      heard = [];
    },
    validations: (token) => asked.get(token) ?? 0,
    invalidations: (tags) => heard.filter((wanted) => fits(wanted, tags)).length,
    entries: () => heard.length,
    quietSinceMs: () => lastHeardMs,
    close() {
      ending.abort();
      proxy.behave();
    },
  };
}
