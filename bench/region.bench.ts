// Question: does a region of three sidecars and three memcached answer rightly, and as fast, while everything around it fails in turn?
//
// `--minutes 10` (the default is 10, with --quick 40 s). Fails where an answer was wrong: that is no matter of speed.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runRegion, scheduleFor } from './region/region.ts';
import { summaryOf } from './region/summary.ts';
import { readOptions, report } from './report.ts';

const args = process.argv.slice(2);
const at = args.indexOf('--minutes');
const options = readOptions(at < 0 ? args : args.toSpliced(at, 2));
const minutes = at < 0 ? (options.quick ? 0.7 : 10) : Number(args[at + 1]);
if (!(minutes > 0 && minutes <= 600)) throw new Error('--minutes wants a number of minutes, for example 10');

// From dist/bench/bench.
const root = fileURLToPath(new URL('../../../', import.meta.url));
const result = await runRegion({
  cli: join(root, 'dist', 'cli.js'),
  ...scheduleFor(minutes),
  timeMs: minutes < 3 ? 4000 : 20_000,
  questionsPerSecond: 250,
  tokensPerSecond: 6,
  deadlineMs: 5000,
  say: (line) => process.stderr.write(`  ${line}\n`),
});
const summary = summaryOf(result);
for (const { answer, note } of summary.rows) report(options, answer, note);
for (const line of summary.wrong) process.stderr.write(`${line}\n`);
process.exit(summary.wrong.length === 0 ? 0 : 1);
