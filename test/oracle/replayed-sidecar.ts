// One sidecar of a replay: all of its flows over a journal in memory, asked and answered in the messages of the API; and a near cache of it.

import { setMaxListeners } from 'node:events';
import { answerFromMessage } from '../../src/client/answer.ts';
import type { Answer } from '../../src/client/index.ts';
import { Keeper } from '../../src/client/keeper.ts';
import type { WatchEvent } from '../../src/client/watch.ts';
import { defaultConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/types.ts';
import { revision } from '../../src/core/invalidation.ts';
import { createTagger } from '../../src/core/tag.ts';
import { createFlows, type Flows } from '../../src/flows.ts';
import { ValidateResponse } from '../../src/gen/sidegate/v1/token_service.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import type { SharedCache } from '../../src/ports.ts';
import { messageOf } from '../../src/rpc/answer.ts';
import { WatchWriter } from '../../src/rpc/watch-writer.ts';
import { SharedQuestions } from '../../src/service/fleet/shared-questions.ts';
import type { WatchMessage } from '../../src/service/watch.ts';
import type { FakeClock } from '../fakes/clock.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import type { Place } from './places.ts';
import type { RecordedBus, RecordedKeystone, Sources } from './recorded-keystone.ts';

/** It runs. */
export interface ReplayedSidecar {
  readonly flows: Flows;
  readonly bus: RecordedBus;
  /** What it has asked Keystone about, oldest first. */
  readonly reads: readonly string[];
  /** The tags of each entry of its journal, oldest first: what may concern a token, and is wanted of it. */
  entryTags(): Promise<readonly (readonly (readonly bigint[])[])[]>;
  /** As memory. */
  ask(token: string): Promise<Answer>;
  /** A near cache of its own. */
  near(): Pick<Place, 'ask'>;
  close(): Promise<void>;
}

/** What it is made of. */
export interface ReplayedParts {
  readonly clock: FakeClock;
  readonly keystone: RecordedKeystone;
  readonly shared: SharedCache;
  readonly sources: Sources;
  readonly caching: Partial<Config['caching']>;
}

const keys = [{ id: 'one', secret: Buffer.alloc(32, 5) }] as const;
const everything = { raw: '', wantsClaims: true, wantsTags: true, wantsDetails: false, wantsHandle: false, catalogFilter: undefined };

/** Starts it. */
export async function startReplayed({ clock, keystone, shared, sources: which, caching }: ReplayedParts): Promise<ReplayedSidecar> {
  const ending = new AbortController();
  setMaxListeners(0, ending.signal);
  const tagger = createTagger(keys);
  const journal = createMemoryJournal({ clock });
  const { issuer, reads } = keystone.issuer();
  const { sources, bus } = keystone.sources(which, clock);
  const base = defaultConfig();
  const flows = createFlows({
    config: { ...base, caching: { ...base.caching, token: { ...base.caching.token, jitter: 0, refreshAhead: 1 }, ...caching } },
    clock,
    telemetry: createFakeTelemetry(),
    keys,
    tagger,
    issuers: [issuer],
    news: [{ issuer, sources, project: keystone.project }],
    journal,
    shared,
    engine: undefined,
    retentionMs: 0,
    name: 'replayed',
    questions: new SharedQuestions({ clock, skewMs: 2_000, maxLagMs: base.maxLagMs }),
    draining: ending.signal,
    stopping: ending.signal,
  });
  await flows.invalidations.load();
  const running = [flows.invalidations.run(ending.signal), flows.news.run()];
  const writer = new WatchWriter({ journal, tagger, name: 'replayed' });

  const ask = async (token: string): Promise<Answer> => {
    const answer = await flows.validator.validate({ raw: token }, () => ending.signal);
    const message = messageOf(answer, everything, { asOf: flows.invalidations.cursor(answer.asOf), catalogTag: () => 0n });
    return answerFromMessage(ValidateResponse.decode(ValidateResponse.encode(message).finish()));
  };
  return {
    flows,
    bus,
    reads,
    entryTags: async () => (await journal.read(revision(0), 10_000)).map((placed) => writer.tagSets(placed)),
    ask,
    near() {
      const keeper = new Keeper(1000, undefined);
      keeper.subscribing(clock.monotonicMs());
      running.push(
        (async () => {
          for await (const message of flows.watchers.watch({}, ending.signal)) {
            for (const event of eventsOf(message, writer, journal.id)) keeper.apply(event, clock.monotonicMs());
          }
        })(),
      );
      return {
        async ask(token) {
          const hit = keeper.hit(token, clock.monotonicMs());
          if (hit) return hit;
          const asked = keeper.asked(clock.monotonicMs());
          const answer = await ask(token);
          keeper.keep(token, answer, asked);
          return answer;
        },
      };
    },
    async close() {
      ending.abort();
      // What it was doing may end by the signal: nobody waits for its result any more.
      await Promise.allSettled(running);
      await journal.close();
    },
  };
}

/** As the wire tells them. */
function eventsOf(message: WatchMessage, writer: WatchWriter, journal: string): readonly WatchEvent[] {
  switch (message.kind) {
    case 'batch':
      return message.entries.flatMap((placed) =>
        writer.tagSets(placed).map((tags) => ({
          kind: 'invalidation' as const,
          cursor: { journal, revision: placed.revision },
          effect: placed.entry.effect,
          tags,
          entryId: placed.entry.id,
        })),
      );
    case 'opened':
      return [{ ...message, sidecar: 'replayed' }];
    case 'checkpoint':
      return [{ ...message, degraded: false, sources: [] }];
    case 'reset':
      return [message];
    case 'snapshot end':
      return [{ ...message, kind: 'snapshotEnd' }];
  }
}
