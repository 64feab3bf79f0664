// What the log of a fleet holds: read from its oldest record by an engine of our own, with the fleet's key.

import { setTimeout as pause } from 'node:timers/promises';
import { openRecord, recordKeyOf } from '../../src/core/fleet-record.ts';
import { deploymentKeys } from '../../src/deployment-keys.ts';
import type { Engine, LogRecord } from '../../src/ports.ts';
import type { FleetStage } from './stage.ts';

/** Records that are entries, and how many different ones. */
export interface LogCount {
  readonly entries: number;
  readonly distinct: number;
}

/** Nothing new but signs of life for so long: it has been read. */
const quietMs = 3_000;

/** Reads all of it. */
export async function countInLog({ engine, keyDir }: Pick<FleetStage, 'engine' | 'keyDir'>): Promise<LogCount> {
  const keys = deploymentKeys(keyDir, undefined).map(recordKeyOf);
  const ids = new Set<string>();
  let entries = 0;
  let lastMs = performance.now();
  const stop = new AbortController();
  const take = async (batch: readonly LogRecord[]): Promise<void> => {
    for (const { bytes } of batch) {
      const record = openRecord(keys, bytes);
      if (record.kind !== 'entry') continue;
      entries += 1;
      ids.add(record.entry.id);
      lastMs = performance.now();
    }
  };
  const reader: Engine = engine.reader();
  const running = reader.run((link) => link.read(undefined, take, stop.signal), stop.signal);
  while (performance.now() - lastMs < quietMs) await pause(100);
  stop.abort();
  await running;
  return { entries, distinct: ids.size };
}
