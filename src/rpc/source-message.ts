// How a source of news is told, in checkpoints and in the status.

import type { SourceStatus } from '../gen/sidegate/v1/token_service.ts';
import type { SourceState } from '../service/source-standing.ts';
import { dateFromMs } from '../wire/time.ts';

/** For the wire. Its name is that of its issuer and its own: `central/bus`. */
export function sourceToMessage({ issuer, name, lastAliveAtMs, lastNewsAtMs, degradedSinceMs }: SourceState): SourceStatus {
  return {
    name: `${issuer}/${name}`,
    lastAliveAt: dateFromMs(lastAliveAtMs),
    lastNewsAt: dateFromMs(lastNewsAtMs),
    degradedSince: dateFromMs(degradedSinceMs),
  };
}
