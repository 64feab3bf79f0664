// Question: when something happens in Keystone, how long until our answers say so, and is every answer then what Keystone says?
//
// A live Keystone in four settings, {fernet, jws} × {cadf, basic}: the first whole, in the others what takes something away; --quick: the
// first, twelve actions and what they follow. Fails where an answer was wrong: that is no matter of speed.
// `--setting=jws/basic`: only that one.
// `--record`: measures nothing, and writes down anew what Keystone does, for the tests that play it again (test/vectors/keystone-actions-*.json).

import { fileURLToPath } from 'node:url';
import { readOptions, report } from './report.ts';
import { type Played, play } from './staleness/play.ts';
import { record } from './staleness/record.ts';
import type { Setting } from './staleness/stage.ts';
import { perAction, summaryOf, tableOf } from './staleness/summary.ts';

const args = process.argv.slice(2);
const only = args.find((arg) => arg.startsWith('--setting='))?.slice('--setting='.length);
const options = readOptions(args.filter((arg) => arg !== '--record' && !arg.startsWith('--setting=')));
// From dist/bench/bench.
const root = fileURLToPath(new URL('../../../', import.meta.url));
const say = (line: string): void => void process.stderr.write(`  ${line}\n`);

if (args.includes('--record')) {
  for (const format of ['cadf', 'basic'] as const) await record(root, format, say);
  process.exit(0);
}
const settings: readonly Setting[] = [
  { provider: 'fernet', format: 'cadf' },
  { provider: 'fernet', format: 'basic' },
  { provider: 'jws', format: 'cadf' },
  { provider: 'jws', format: 'basic' },
];
const nameOf = ({ provider, format }: Setting): string => `${provider}/${format}`;
if (only !== undefined && !settings.some((setting) => nameOf(setting) === only))
  throw new Error(`--setting is one of ${settings.map(nameOf).join(', ')}`);
const played: Played[] = [];
for (const [at, setting] of settings.entries()) {
  if (only === undefined ? options.quick && at > 0 : nameOf(setting) !== only) continue;
  say(`${nameOf(setting)} …`);
  played.push(await play(root, setting, options.quick ? 'quick' : at === 0 ? 'all' : 'takingAway', say));
}
const together: Played = { rows: played.flatMap(({ rows }) => rows), failures: played.flatMap(({ failures }) => failures) };
const summary = summaryOf(together);
for (const { answer, note } of summary) report(options, answer, note);
if (options.json) for (const { answer, note } of perAction(together.rows)) report(options, answer, note);
else console.log(`\n${tableOf(together.rows)}`);
for (const { setting, row } of together.rows) {
  for (const { kind, place, broken } of row.cells) {
    for (const { what, note } of broken)
      say(`${setting.provider}/${setting.format} ${row.action.name}: ${what} ${kind} in ${place}: ${note}`);
  }
}
for (const { setting, action, why } of together.failures) say(`${setting.provider}/${setting.format} ${action}: ${why}`);
process.exit(summary[0]?.answer.value === 0 ? 0 : 1);
