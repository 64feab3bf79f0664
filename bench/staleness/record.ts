// Keeps what a live Keystone does in each row of the table, for the tests that play it again without one.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startKeystone } from '../../test/e2e/lab/keystone.ts';
import { byPassword, keystoneLogin } from '../../test/e2e/lab/keystone-api.ts';
import { startRabbitmqProcess } from '../../test/fakes/rabbitmq-process.ts';
import { administratorOf } from '../../test/oracle/administrator.ts';
import { startRecorder } from '../../test/oracle/recorder.ts';
import { type RecordedRow, type Recording, recordRow, written } from '../../test/oracle/recording.ts';
import { makeThings, type Things } from '../../test/oracle/things.ts';
import { rowsOf } from './play.ts';

/** Its tokens live for a day: those who play the rows again may take their time. */
const expirationSeconds = 86_400;

/** Records every row in `format` into test/vectors/. `root`: of the project. Takes some five minutes. */
export async function record(root: string, format: Recording['format'], say: (line: string) => void): Promise<void> {
  const rabbitmq = await startRabbitmqProcess();
  try {
    const recorder = await startRecorder(rabbitmq.transportUrl);
    const lab = await startKeystone({
      expirationSeconds,
      notifications: { url: rabbitmq.transportUrl, format },
      scripts: join(root, 'test/e2e/lab'),
    });
    try {
      const keystone = await administratorOf(lab);
      const { validator } = lab.seed.users;
      const token = await keystoneLogin(lab.url, byPassword(validator.id, validator.password), {
        project: { id: lab.seed.projects.service },
      });
      const rows: RecordedRow[] = [];
      let things: Things | undefined;
      const actions = rowsOf('all');
      for (const [at, action] of actions.entries()) {
        if (things === undefined || action.onFreshThings) things = await makeThings(keystone);
        const row = await recordRow(action, things, { keystone, recorder, token });
        rows.push(row);
        if (actions[at + 1]?.follows !== action.name) forgetRefused(row, things);
        say(`${format} ${action.name}: ${row.httpStatus}, ${row.messages.length} messages, ${row.events.length} events`);
      }
      const note = `What a Keystone (Debian 12, 22.0.2, notification_format = ${format}) did: npm run bench:staleness -- --record. Throwaways of a lab.`;
      writeFileSync(join(root, `test/vectors/keystone-actions-${format}.json`), written({ note, format, rows }));
    } finally {
      await recorder.close();
      await lab.close();
    }
  } finally {
    await rabbitmq.close();
  }
}

function forgetRefused({ tokens }: RecordedRow, things: Things): void {
  for (const kind of [...things.tokens.keys()]) {
    const told = tokens[kind]?.after ?? tokens[kind]?.before;
    if (told && 'status' in told) things.tokens.delete(kind);
  }
}
