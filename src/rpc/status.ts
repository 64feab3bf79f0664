// GetStatus: how this sidecar is, in the words of the API.

import { GetStatusResponse } from '../gen/sidegate/v1/token_service.ts';
import type { DependencyHealth } from '../ports.ts';
import type { Degradations } from '../service/degradation.ts';
import type { FactsStore } from '../service/facts.ts';
import type { Invalidations } from '../service/invalidations.ts';
import type { Issuer } from '../service/issuer.ts';
import type { Validator } from '../service/validator.ts';
import type { Watchers } from '../service/watch.ts';
import { cursorToMessage } from '../wire/cursor.ts';
import { dateFromMs } from '../wire/time.ts';

/** Who is asked. */
export interface StatusParts {
  readonly name: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly serving: () => boolean;
  readonly issuers: readonly Issuer[];
  readonly facts: FactsStore;
  readonly validator: Validator;
  readonly invalidations: Invalidations;
  readonly degradations: Degradations;
  readonly watchers: Watchers;
  readonly memoryBytes: number;
}

/** Never a secret, and no token's name. */
export async function statusOf(parts: StatusParts): Promise<GetStatusResponse> {
  const { invalidations, facts, degradations } = parts;
  const { journal } = invalidations;
  const inPart = invalidations.inPart > 0 ? `${invalidations.inPart} entries of another version are understood in part` : undefined;
  const problem = journal.failure() ?? journal.corruption ?? inPart;
  const degraded = degradations.all();
  return GetStatusResponse.fromPartial({
    sidecar: parts.name,
    version: parts.version,
    startedAt: dateFromMs(parts.startedAtMs),
    degraded: degraded.length > 0,
    earliest: cursorToMessage(invalidations.cursor(journal.earliest())),
    latest: cursorToMessage(invalidations.cursor(journal.head())),
    applied: cursorToMessage(invalidations.cursor()),
    dependencies: [
      dependency('journal', { reachable: journal.failure() === undefined, ...(problem === undefined ? {} : { problem }) }),
      ...parts.issuers.map((issuer) => dependency(`issuer/${issuer.name}`, issuer.format.health())),
    ],
    watcherCount: BigInt(parts.watchers.count),
    serving: parts.serving(),
    entryCount: BigInt(journal.count()),
    tiers: [
      {
        name: 'memory',
        tokenCount: BigInt(facts.entries('memory')),
        sizeBytes: BigInt(facts.bytes),
        maxSizeBytes: BigInt(parts.memoryBytes),
        lookupCount: BigInt(parts.validator.lookups),
        hitCount: BigInt(parts.validator.hits),
      },
    ],
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
