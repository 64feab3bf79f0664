// A region of three sidecars and three memcached under load for half a minute, while everything around it fails in turn: no answer is wrong.

import { join } from 'node:path';
import { expect, it } from 'vitest';
import { faults } from '../bench/region/faults.ts';
import { type RegionResult, runRegion } from '../bench/region/region.ts';
import { builtPackage } from './cli/program.ts';
import { describeWithMemcached } from './fakes/memcached.ts';

/** In `npm run bench -- region` each fault has half a minute and there is more load; here the machine belongs to other tests too. */
async function shortRun(): Promise<RegionResult> {
  return runRegion({
    cli: join(builtPackage(), 'dist', 'cli.js'),
    faults,
    faultMs: 600,
    timeMs: 4000,
    questionsPerSecond: 60,
    tokensPerSecond: 6,
    deadlineMs: 12_000,
  });
}

/** What was wrong, once for each kind, so that a failure can be read. */
function told({ violations }: RegionResult): readonly string[] {
  const lines = violations.map(({ broken, note, observation }) => `${broken} on ${observation.sidecar}: ${note}`);
  return [...new Set(lines)].slice(0, 10);
}

describeWithMemcached('a region', () => {
  it('every answer is right by Keystone within `time`, and by the sidecar’s own revocations at once', { timeout: 180_000 }, async () => {
    const result = await shortRun();

    expect(told(result)).toEqual([]);
    // It was worth it: there were answers of every kind that could have been wrong, and the tier was used.
    const { seen, sharedAnswers, hasFace } = result;
    const few = {
      active: seen.active > 200,
      afterRevoke: seen.afterRevoke > 5,
      afterDenial: seen.afterDenial > 20,
      pastTime: seen.pastTime > 5,
    };
    expect(few).toEqual({ active: true, afterRevoke: true, afterDenial: true, pastTime: true });
    expect({ hasFace, tier: sharedAnswers > 20 }).toEqual({ hasFace: true, tier: true });
  });
});
