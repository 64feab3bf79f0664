// A fleet of three sidecars under load while its broker, Keystone's bus and its processes fail: no invalidation is lost, and none is hidden.

import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type CellResult, runCell } from '../bench/faults/cell.ts';
import type { Cell } from '../bench/faults/matrix.ts';
import { startFleet } from '../bench/fleet/stage.ts';
import { builtPackage } from './cli/program.ts';
import { whyNoMemcached } from './fakes/memcached.ts';
import { describeWithRabbitmq } from './fakes/rabbitmq.ts';

/** The whole matrix is `npm run faults`; these are the ones that a broker's restart and a host's are made of. */
const few: readonly (Cell & { readonly faultMs: number })[] = [
  { subject: 'engine', kind: 'killed', faultMs: 6_000 },
  { subject: 'engine', kind: 'hanging', faultMs: 6_000 },
  { subject: 'bus', kind: 'killed', faultMs: 3_000 },
  { subject: 'bus', kind: 'hanging', faultMs: 6_000 },
  { subject: 'sidecar', kind: 'killed', faultMs: 1_000 },
  { subject: 'sidecar', kind: 'stopped', faultMs: 4_000 },
];
/** There is little load, and much patience: the machine belongs to other tests too. */
const plan = {
  maxLagMs: 3_000,
  slackMs: 1_500,
  deadlineMs: 15_000,
  calmMs: 300,
  recoveryWithinMs: 60_000,
  questionsPerSecond: 20,
  revocationsPerSecond: 6,
  endingsPerSecond: 3,
  busMs: 4_000,
  news: { pollEveryMs: 1_000, settleMs: 1_000 },
};

/** What was wrong, so that a failure can be read. */
const told = ({ violations }: CellResult): readonly string[] =>
  [...new Set(violations.map(({ broken, sidecar, note }) => `${broken} on ${sidecar}: ${note}`))].slice(0, 10);

describeWithRabbitmq('a fleet', () => {
  it.skipIf(whyNoMemcached !== undefined)(
    'keeps every promise while its broker, Keystone’s bus and its processes fail',
    { timeout: 420_000 },
    async () => {
      const stage = await startFleet({ cli: join(builtPackage(), 'dist', 'cli.js'), engine: 'rabbitmq', ...plan });
      try {
        const results = new Map<string, CellResult>();
        for (const cell of few) results.set(`${cell.subject} ${cell.kind}`, await runCell(cell, stage, { ...plan, faultMs: cell.faultMs }));

        const broken = Object.fromEntries([...results].map(([name, result]) => [name, told(result)]));
        expect(broken).toEqual(Object.fromEntries([...results.keys()].map((name) => [name, []])));
        // It was worth it: there was something in each that could have been lost or hidden.
        for (const { seen } of results.values()) {
          expect(seen.revoked).toBeGreaterThan(5);
          expect(seen.ended).toBeGreaterThan(5);
          expect(seen.published).toBe(seen.ended);
          expect(seen.lasts).toBe(3 * (seen.revoked + seen.ended));
          expect(seen.afterHere).toBeGreaterThan(10);
          expect(seen.watched).toBeGreaterThanOrEqual(3 * seen.revoked);
        }
        // The short ones are over before what Keystone ended in them is due.
        for (const name of ['engine killed', 'engine hanging', 'bus hanging']) expect(results.get(name)?.seen.afterNews).toBeGreaterThan(0);
        expect(results.get('engine killed')?.seen.whileApart).toBeGreaterThan(0);
        expect(results.get('engine hanging')?.seen.whileApart).toBeGreaterThan(0);
        expect(results.get('bus hanging')?.seen.whileApart).toBeGreaterThan(0);
        expect(results.get('sidecar killed')?.seen.afterElsewhere).toBeGreaterThan(0);
      } finally {
        await stage.close();
      }
    },
  );
});
