// Question: does a fleet of three sidecars lose or hide an invalidation when a broker, Keystone's bus, a network or a process fails?
//
// Each fault once, over each engine, under load; a judge looks at the whole history. Fails where a promise was broken: that is no matter of speed.

import { writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CellResult, runCell } from './faults/cell.ts';
import { cells } from './faults/matrix.ts';
import { engineNames } from './fleet/engines.ts';
import { startFleet } from './fleet/stage.ts';
import { readOnly, readOptions, report } from './report.ts';

// `--only=engine_killed` runs those cells whose name has it; for whoever looks for a cause.
const { isWanted, rest } = readOnly();
const options = readOptions(rest);
// From dist/bench/bench.
const cli = join(fileURLToPath(new URL('../../../', import.meta.url)), 'dist', 'cli.js');
const plan = {
  maxLagMs: 3_000,
  slackMs: 1_000,
  deadlineMs: 5_000,
  faultMs: options.quick ? 5_000 : 8_000,
  calmMs: options.quick ? 500 : 1_500,
  recoveryWithinMs: 30_000,
  questionsPerSecond: 100,
  revocationsPerSecond: 10,
  endingsPerSecond: 4,
  busMs: 2_000,
  news: { pollEveryMs: 1_000, settleMs: 1_000 },
};
let isBroken = false;

// Of a sidecar that is followed what is new is how it fails itself.
const rows = [
  ...engineNames.map((engine) => ({ engine, of: cells })),
  { engine: 'follow' as const, of: cells.filter(({ subject }) => subject === 'engine') },
];
for (const { engine, of } of rows) {
  const named = of.map((cell) => ({ cell, name: `faults_${engine}_${cell.subject}_${cell.kind}` })).filter(({ name }) => isWanted(name));
  if (named.length === 0) continue;
  const stage = await startFleet({ cli, engine, ...plan });
  const recoveries: number[] = [];
  // The first one is hurt; the others run from the beginning to the end, and can be weighed.
  const weights = stage.members.slice(1).map(({ sidecar }) => ({ sidecar, bytes: [] as number[] }));
  try {
    for (const { cell, name } of named) {
      const result = await runCell(cell, stage, plan);
      report(options, { name, value: result.violations.length, unit: 'broken promises', wanted: '<= 0' }, noteOf(result));
      recoveries.push(result.recoveryMs ?? plan.recoveryWithinMs);
      for (const { sidecar, bytes } of weights) bytes.push(sidecar.residentBytes() ?? 0);
      if (result.violations.length === 0) continue;
      isBroken = true;
      const file = join(tmpdir(), `sidegate-${name}-${Date.now()}.json`);
      writeFileSync(file, JSON.stringify({ violations: result.violations, history: result.history }));
      for (const line of kindsOf(result)) process.stderr.write(`${name}: ${line}\n`);
      process.stderr.write(`${name}: the whole history is in ${file}\n`);
      for (const { sidecar } of stage.members)
        for (const line of sidecar.complaints.slice(-8)) process.stderr.write(`  ${sidecar.name}: ${line}\n`);
    }
    const note = `${named.length} faults, each of ${plan.faultMs / 1000} s; until each sidecar is not degraded, and has read what it had appended since the end of the fault`;
    report(
      options,
      {
        name: `faults_${engine}_recovery_worst`,
        value: Math.max(...recoveries) / 1000,
        unit: 's',
        wanted: `<= ${plan.recoveryWithinMs / 1000}`,
      },
      note,
    );
    // What is loaded and compiled once is there after the first six.
    if (named.length === of.length && of.length > 6) {
      const ratio = Math.max(...weights.map(({ bytes }) => (bytes.at(-1) ?? 0) / (bytes[5] ?? 1)));
      const last = weights.map(({ bytes }) => `${Math.round((bytes.at(-1) ?? 0) / 1024 / 1024)} MiB`).join(' and ');
      report(
        options,
        { name: `faults_${engine}_memory_ratio`, value: ratio, unit: '× after six faults', wanted: '<= 1.5' },
        `resident memory at the end: ${last}`,
      );
    }
  } finally {
    await stage.close();
  }
}
process.exit(isBroken ? 1 : 0);

function noteOf({ seen, recoveryMs }: CellResult): string {
  return [
    `${seen.answers} answers, ${seen.revoked} revocations (${seen.unacknowledged} more not acknowledged): ${seen.afterHere} asked where it was revoked, ${seen.afterElsewhere} elsewhere past the bound`,
    `(${seen.excused} active and degraded), ${seen.whileApart} active while apart, ${seen.fresh} that had to know, ${seen.none} without an answer, ${seen.watched} told to watchers, ${seen.resets} resets;`,
    `${seen.ended} ended at Keystone, ${seen.published} of them published: ${seen.afterNews} asked past the bound (${seen.excusedNews} active and degraded);`,
    `${recoveryMs === undefined ? 'not recovered' : `well again after ${(recoveryMs / 1000).toFixed(1)} s`}; load average ${loadavg()[0]?.toFixed(1)}`,
  ].join(' ');
}

/** Once for each kind, with the first one of it, so that a failure can be read. */
function kindsOf({ violations }: CellResult): readonly string[] {
  const firsts = new Map(violations.toReversed().map((one) => [`${one.broken} on ${one.sidecar}`, one.note]));
  return [...firsts].map(([kind, note]) => {
    const count = violations.filter(({ broken, sidecar }) => `${broken} on ${sidecar}` === kind).length;
    return `${kind}, ${count} times; first: ${note}`;
  });
}
