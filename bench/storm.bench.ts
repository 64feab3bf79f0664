// Question: what do news cost that concern everybody, and news that never end?
//
// 10,000 tokens that a sidecar knows, and a deleted role, then a changed domain, of all of them (--quick: 1,500); and a robot that logs in by
// federation twenty times a second, before two sidecars with one memcached. Keystone is a scripted one behind a real RabbitMQ.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quantile, readOptions, report } from './report.ts';
import { everybodys, roleIdOf } from './servers/keystone-body.ts';
import { runRobot } from './storm/robot.ts';
import { runSpread, toldOf } from './storm/spread.ts';
import { startStorm } from './storm/stage.ts';

const options = readOptions();
// From dist/bench/bench.
const cli = join(fileURLToPath(new URL('../../../', import.meta.url)), 'dist', 'cli.js');
const settleMs = 2000;
let isWrong = false;

const size = options.quick
  ? { tokens: 1500, questionsPerSecond: 400, wideWindowMs: 6000 }
  : { tokens: 10_000, questionsPerSecond: 1000, wideWindowMs: 30_000 };
const one = await startStorm({ cli, sidecars: 1, settleMs, wideWindowMs: size.wideWindowMs, concurrency: 16, queue: 256 });
try {
  const happenings = {
    role_deleted: { eventType: 'identity.role.deleted', id: roleIdOf('member') },
    domain_updated: { eventType: 'identity.domain.updated', id: everybodys.domainId },
  };
  for (const [name, happening] of Object.entries(happenings)) {
    const result = await runSpread(one, { ...size, settleMs, keystoneMs: 20 }, happening);
    const note = toldOf(result);
    const row = (what: string, value: number, unit: string, wanted: string | null): void =>
      report(options, { name: `storm_${name}_${what}`, value, unit, wanted }, note);
    row('wrong_answers', result.wrong.length, 'kinds', '<= 0');
    row('most_a_second', Math.max(...result.validationsPerSecond), 'validations', null);
    row('validations_of_a_token', result.mostOfOne, 'validations', '<= 2');
    row('p99_ratio', quantile(result.after, 0.99) / quantile(result.before, 0.99), '× before', null);
    isWrong ||= result.wrong.length > 0;
  }
} finally {
  await one.close();
}

const two = await startStorm({ cli, sidecars: 2, settleMs, wideWindowMs: size.wideWindowMs, concurrency: 16, queue: 256 });
try {
  const robot = await runRobot(two, { perSecond: 20, lastsMs: options.quick ? 10_000 : 60_000, tokens: 4, settleMs });
  const note =
    `${robot.messages} messages in ${robot.windows} settle windows, 4 tokens of the robot's and 4 of another's asked about at two sidecars all the time: ` +
    `${robot.answers} answers, ${robot.polls} looks and polls at the list; wrong: ${robot.wrong.length === 0 ? 'none' : robot.wrong.join(', ')}`;
  const row = (what: string, value: number, unit: string, wanted: string | null): void =>
    report(options, { name: `storm_robot_${what}`, value, unit, wanted }, note);
  row('validations', robot.mostOfRobot / robot.windows, 'a window, token and sidecar', '<= 2');
  row('validations_of_others', robot.mostOfOthers, 'validations', '<= 0');
  row('polls', robot.polls / robot.windows / 2, 'a window and sidecar', null);
  isWrong ||= robot.wrong.length > 0;
} finally {
  await two.close();
}
process.exit(isWrong ? 1 : 0);
