// A process to be killed: appends without pause, and prints each id when it is acknowledged. `node crash-writer.js DIR ROUND`.

import { writeSync } from 'node:fs';
import { openLevelJournal } from '../../src/journal/leveldb.ts';
import { entryOf, learnedAtMs } from './entries.ts';

const writers = 8;

const [dir = '', round = ''] = process.argv.slice(2);
// Straight to the pipe: a line in a buffer of ours would die with us.
const say = (line: string): unknown => writeSync(1, `${line}\n`);

let next = 0;

async function writeOn(): Promise<void> {
  for (;;) {
    const n = next++;
    // A third is to be forgotten at once, so that compaction is killed too.
    const brief = n % 3 === 0;
    const entry = entryOf({ id: `${brief ? 'brief' : 'kept'}-${round}-${n}`, forgetAtMs: learnedAtMs + (brief ? 1 : 3_600_000) });
    const placed = await journal.append(entry, { key: entry.id, digest: 'd' });
    say(`acknowledged ${placed.revision} ${entry.id}`);
  }
}

/** Letters are kept, and every second one is taken out again: what is said of each is what was acknowledged last. */
async function sendOn(): Promise<void> {
  for (let n = 0; ; n += 1) {
    const id = `letter-${round}-${n}`;
    await journal.outbox.put(id, Buffer.from(id));
    if (n % 2 === 0) {
      say(`posted ${id}`);
      continue;
    }
    await journal.outbox.remove(id);
    say(`removed ${id}`);
  }
}

async function compactOn(): Promise<void> {
  for (;;) await journal.compact({ nowMs: learnedAtMs + 2, floorMs: 0 });
}

const journal = await openLevelJournal({ dir, clock: { nowMs: () => learnedAtMs } });
say(`open ${journal.head()} ${journal.corruption ?? 'whole'}`);
try {
  await Promise.all([...Array.from({ length: writers }, writeOn), compactOn(), sendOn()]);
} catch (error) {
  say(`failed ${JSON.stringify(error)}`);
  const again = await journal.append(entryOf({ id: 'again' })).catch((refused: unknown) => refused);
  say(`refused ${JSON.stringify(again)}`);
}
