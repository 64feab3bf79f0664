// Drives the TypeScript near cache by JSON lines, as driver.py does its own: where it must be a process that can be stopped.
import { createInterface } from 'node:readline';

const [clientUrl, address, filter] = process.argv.slice(2);
const { connect } = await import(clientUrl);
const watched = JSON.parse(filter);
const cache = connect({ address }).nearCache(
  watched ? { filter: { issuers: watched.issuers, userIds: watched.user_ids, projectIds: watched.project_ids } } : {},
);
const reply = (id, said) => process.stdout.write(`${JSON.stringify({ id, ...said })}\n`);

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: act, token } = JSON.parse(line);
  if (act === 'events') reply(id, { events: cache.stats().events });
  else
    cache.validate(token).then(
      ({ active }) => reply(id, { active }),
      (error) => reply(id, { error: String(error) }),
    );
}
process.exit(0);
