// GetStatus: how this sidecar is, in the words of the API.

import { GetStatusResponse } from '../gen/sidegate/v1/token_service.ts';
import type { DependencyHealth } from '../ports.ts';
import type { Degradations } from '../service/degradation.ts';
import type { FactsStore } from '../service/facts.ts';
import type { Fleet } from '../service/fleet/fleet.ts';
import type { Invalidations } from '../service/invalidations.ts';
import type { Issuer } from '../service/issuer.ts';
import type { NewsRoom } from '../service/news/news-room.ts';
import type { Forwarding } from '../service/telling/forwarding.ts';
import type { SharedTier } from '../service/tier/shared-tier.ts';
import type { Validator } from '../service/validator.ts';
import type { Watchers } from '../service/watch.ts';
import { cursorToMessage } from '../wire/cursor.ts';
import { dateFromMs } from '../wire/time.ts';
import { sourceToMessage } from './source-message.ts';

/** Who is asked. */
export interface StatusParts {
  readonly name: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly serving: () => boolean;
  readonly issuers: readonly Issuer[];
  readonly facts: FactsStore;
  readonly tier: SharedTier | undefined;
  readonly forwarding: Pick<Forwarding, 'pendingCount' | 'status'>;
  readonly validator: Validator;
  readonly invalidations: Invalidations;
  readonly degradations: Degradations;
  readonly watchers: Watchers;
  readonly news: Pick<NewsRoom, 'health'>;
  readonly fleet: Pick<Fleet, 'status'> | undefined;
  readonly memoryBytes: number;
}

/** Never a secret, and no token's name. */
export async function statusOf(parts: StatusParts): Promise<GetStatusResponse> {
  const { invalidations, facts, degradations, tier } = parts;
  const { journal } = invalidations;
  const inPart = invalidations.inPart > 0 ? `${invalidations.inPart} entries of another version are understood in part` : undefined;
  const problem = journal.failure() ?? journal.corruption ?? inPart;
  const degraded = degradations.all();
  const fleet = parts.fleet?.status();
  return GetStatusResponse.fromPartial({
    sidecar: parts.name,
    version: parts.version,
    startedAt: dateFromMs(parts.startedAtMs),
    degraded: degraded.length > 0,
    earliest: cursorToMessage(invalidations.cursor(journal.earliest())),
    latest: cursorToMessage(invalidations.cursor(journal.head())),
    applied: cursorToMessage(invalidations.cursor()),
    sources: degradations.sources().map(sourceToMessage),
    dependencies: [
      dependency('journal', { reachable: journal.failure() === undefined, ...(problem === undefined ? {} : { problem }) }),
      ...parts.issuers.flatMap(({ name, format }) => [
        dependency(`issuer/${name}`, format.health()),
        ...(format.keySets?.() ?? []).map((set) => dependency(`issuer/${name}/keys/${set.name}`, set.health)),
      ]),
      ...parts.news.health().map(({ name, health }) => dependency(`news/${name}`, health)),
      ...(fleet ? [dependency(`fleet/${fleet.engine}`, fleet.health)] : []),
      ...(tier?.cache.health() ?? []).map(({ server, health }) => dependency(`memcached/${server}`, health)),
    ],
    fleet: fleet && {
      members: fleet.members.map(({ name }) => name),
      outboxCount: BigInt(fleet.outbox.count),
      oldestAt: dateFromMs(fleet.outbox.oldestAtMs),
    },
    watcherCount: BigInt(parts.watchers.count),
    serving: parts.serving(),
    entryCount: BigInt(journal.count()),
    upstreamOutboxCount: BigInt(parts.forwarding.pendingCount),
    forwardings: parts.forwarding.status().map(({ issuer, pending, accepted, rejected, expired, oldestAtMs }) => ({
      issuer,
      pendingCount: BigInt(pending),
      acceptedCount: BigInt(accepted),
      rejectedCount: BigInt(rejected),
      expiredCount: BigInt(expired),
      oldestAt: dateFromMs(oldestAtMs),
    })),
    tiers: [
      {
        name: 'memory',
        tokenCount: BigInt(facts.entries('memory')),
        sizeBytes: BigInt(facts.bytes),
        maxSizeBytes: BigInt(parts.memoryBytes),
        lookupCount: BigInt(parts.validator.lookups),
        hitCount: BigInt(parts.validator.hits),
      },
      ...(tier ? [{ name: 'shared', lookupCount: BigInt(tier.lookups), hitCount: BigInt(tier.hits) }] : []),
    ],
    acknowledgements: parts.watchers.acknowledged.map(({ subscription, cursor, atMs }) => ({
      subscription,
      cursor: cursorToMessage(cursor),
      acknowledgedAt: dateFromMs(atMs),
    })),
    degradations: degraded.map((one) => ({ issuer: one.issuer, reasons: [...one.reasons], since: dateFromMs(one.sinceMs) })),
  });
}

function dependency(name: string, health: DependencyHealth): NonNullable<GetStatusResponse['dependencies'][number]> {
  return {
    name,
    reachable: health.reachable,
    problem: health.problem ?? '',
    lastAnswerAt: dateFromMs(health.lastAnswerAtMs),
    keySetDigest: health.keySetDigest ?? '',
  };
}
