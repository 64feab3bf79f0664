// Debian's auth_token on the same Keystone and memcached: for how long it goes on accepting what Keystone refuses.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kind } from '../../test/oracle/kinds.ts';
import type { Row } from '../../test/oracle/row.ts';
import { startSubject } from '../middleware/subject.ts';
import { type StalenessStage, timing } from './stage.ts';

/** What it did in a row: of each token that died, how long after the reply it was let in for the last time, in milliseconds. */
export interface PeerRow {
  readonly acceptedForMs: readonly { readonly kind: Kind; readonly ms: number }[];
  /** Tokens that it still let in when it was given up. */
  readonly givenUp: readonly Kind[];
}

/** The middleware in a process of its own. */
export interface Peer {
  /** Has it know the tokens. */
  watch(tokens: ReadonlyMap<Kind, string>): Promise<PeerWatch>;
  end(): Promise<void>;
}

/** It knows some tokens. */
export interface PeerWatch {
  /** Asks it again and again until it lets in no token that `row` has killed, or has had its time. */
  until(row: Row): Promise<PeerRow>;
}

/** As long as our own facts serve here; its default is 300 s. */
export const tokenCacheSeconds = timing.factsTimeMs / 1000;

/** Starts it. `root`: of the project. */
export async function startPeer(root: string, { lab, memcached }: StalenessStage): Promise<Peer> {
  const { validator } = lab.seed.users;
  const options = {
    auth_type: 'password',
    auth_url: lab.url,
    username: validator.name,
    password: validator.password,
    user_domain_id: 'default',
    project_name: 'service',
    project_domain_id: 'default',
    www_authenticate_uri: lab.url,
    // The lab's Keystone has no other in its catalog.
    interface: 'public',
    memcached_servers: memcached,
    token_cache_time: tokenCacheSeconds,
    service_token_roles_required: 'true',
  };
  const subject = await startSubject({ way: 'auth_token', options }, { program: join(root, 'bench/middleware/subject.py'), path: '' });
  const letsIn = async (token: string): Promise<boolean> => (await subject.once(token, 30)).status?.startsWith('200') === true;
  return {
    async watch(tokens) {
      for (const token of tokens.values()) await letsIn(token);
      const lastInMs = new Map([...tokens.keys()].map((kind) => [kind, performance.now()]));
      const isIn = new Map(tokens);
      let isOver = false;
      const watching = (async () => {
        while (!isOver && isIn.size > 0) {
          for (const [kind, token] of [...isIn]) {
            // What it refuses it asks Keystone about each time: once is enough.
            if (await letsIn(token)) lastInMs.set(kind, performance.now());
            else isIn.delete(kind);
          }
          await sleep(200);
        }
      })();
      // Whoever waits for it is told.
      watching.catch(() => undefined);
      return {
        async until({ truth, repliedMs }) {
          const dead = [...truth].filter(([, { before, after }]) => before.accepted && !after.accepted).map(([kind]) => kind);
          const untilMs = repliedMs + timing.factsTimeMs + 5000;
          while (dead.some((kind) => isIn.has(kind)) && performance.now() < untilMs) await sleep(200);
          isOver = true;
          await watching;
          const acceptedForMs = dead.map((kind) => ({ kind, ms: Math.max(0, (lastInMs.get(kind) ?? repliedMs) - repliedMs) }));
          return { acceptedForMs, givenUp: dead.filter((kind) => isIn.has(kind)) };
        },
      };
    },
    end: () => subject.end(),
  };
}
