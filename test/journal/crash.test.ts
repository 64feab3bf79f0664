// The journal of a process that is killed, and of a disk that is full.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Revision, revision } from '../../src/core/invalidation.ts';
import { openLevelJournal } from '../../src/journal/leveldb.ts';
import type { Journal } from '../../src/ports.ts';
import { learnedAtMs } from './entries.ts';

const project = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
// Inside the project, so that the child finds its packages.
const work = join(project, 'node_modules', '.cache', 'sidegate-test', `journal-${process.pid}`);
const writer = join(work, 'test', 'journal', 'crash-writer.js');
const rounds = 100;

const openHere = (dir: string): Promise<Journal> => openLevelJournal({ dir, clock: { nowMs: () => learnedAtMs } });

/** Compiles the writer: node 20 does not read TypeScript. */
beforeAll(async () => {
  await mkdir(work, { recursive: true });
  await writeFile(join(work, 'package.json'), '{"type":"module"}');
  const config = {
    extends: join(project, 'tsconfig.json'),
    compilerOptions: {
      rootDir: project,
      outDir: work,
      declaration: false,
      isolatedDeclarations: false,
      typeRoots: [join(project, 'node_modules/@types')],
    },
    files: [join(project, 'test/journal/crash-writer.ts')],
    include: [],
  };
  await writeFile(join(work, 'tsconfig.json'), JSON.stringify(config));
  await promisify(execFile)(process.execPath, [join(project, 'node_modules/typescript/bin/tsc'), '-p', join(work, 'tsconfig.json')]);
});
afterAll(() => rm(work, { recursive: true, force: true }));

/** All that a writer said before its end, in whole lines, and how it ended. */
interface Said {
  readonly lines: readonly string[];
  readonly signal: NodeJS.Signals | null;
}

function listen(child: ChildProcess, onLine: (line: string) => void = () => undefined): Promise<Said> {
  const lines: string[] = [];
  if (child.stdout === null) throw new Error('the writer has no output');
  const reader = createInterface({ input: child.stdout });
  reader.on('line', (line) => {
    lines.push(line);
    onLine(line);
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.on('exit', (_code, signal) => resolve(signal)));
  const heard = new Promise<void>((resolve) => reader.on('close', resolve));
  return Promise.all([ended, heard]).then(([signal]) => ({ lines, signal }));
}

/** The acknowledged ids with their revisions. A line is one write of the child: whole, or not there. */
function acknowledgedIn(said: Said): Map<string, number> {
  const acknowledged = new Map<string, number>();
  for (const line of said.lines) {
    const [word, at, id] = line.split(' ');
    if (word === 'acknowledged' && id !== undefined) acknowledged.set(id, Number(at));
  }
  return acknowledged;
}

/** The letters that were acknowledged as kept, or as taken out. */
function lettersIn(said: Said, word: 'posted' | 'removed'): string[] {
  return said.lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
}

/** Where each live entry above `after` stands, by its id. */
async function placesAfter(journal: Journal, after: Revision): Promise<Map<string, number>> {
  const places = new Map<string, number>();
  let from = after;
  for (;;) {
    const page = await journal.read(from, 1000);
    for (const placed of page) places.set(placed.entry.id, placed.revision);
    const last = page.at(-1);
    if (last === undefined) return places;
    from = last.revision;
  }
}

/** Those that are not where they were acknowledged. What was brief may have been forgotten. */
function lostOf(acknowledged: ReadonlyMap<string, number>, live: ReadonlyMap<string, number>): [string, number][] {
  return [...acknowledged].filter(([id, at]) => live.get(id) !== at && !(id.startsWith('brief') && !live.has(id)));
}

describe('a journal whose process is killed', () => {
  it('has every acknowledged entry after each of a hundred kill -9, at its revision, and is whole', { timeout: 120_000 }, async () => {
    const dir = join(work, 'killed');
    const kept = new Map<string, number>();
    const posted: string[] = [];
    const removed: string[] = [];
    let acknowledgedRounds = 0;
    let head = revision(0);
    for (let round = 0; round < rounds; round++) {
      const child = spawn(process.execPath, [writer, dir, String(round)], { stdio: ['ignore', 'pipe', 'inherit'] });
      const kill = (): boolean => child.kill('SIGKILL');
      // Most die while they write; one in ten while it opens what the one before has left.
      let timer = round % 10 === 9 ? setTimeout(kill, 30 + Math.random() * 100) : undefined;
      const said = await listen(child, (line) => {
        if (line.startsWith('open')) timer ??= setTimeout(kill, Math.random() * 50);
      });
      clearTimeout(timer);
      expect(said.signal, `round ${round}: ${said.lines.at(-1)}`).toBe('SIGKILL');

      const acknowledged = acknowledgedIn(said);
      if (acknowledged.size > 0) acknowledgedRounds += 1;
      const journal = await openHere(dir);
      expect(journal.corruption, `round ${round}`).toBeUndefined();
      expect(journal.head()).toBeGreaterThanOrEqual(Math.max(head, ...acknowledged.values()));
      const live = await placesAfter(journal, head);
      expect(lostOf(acknowledged, live), `round ${round}`).toEqual([]);
      for (const [id, at] of acknowledged) if (id.startsWith('kept')) kept.set(id, at);
      head = journal.head();
      posted.push(...lettersIn(said, 'posted'));
      removed.push(...lettersIn(said, 'removed'));
      const letters = await journal.outbox.list();
      const there = new Set(letters.map(({ id }) => id));
      expect([posted.filter((id) => !there.has(id)), removed.filter((id) => there.has(id))], `round ${round}`).toEqual([[], []]);
      expect(letters.filter(({ id, record }) => Buffer.from(record).toString() !== id)).toEqual([]);
      await journal.close();
    }
    // A loaded machine writes few before it is killed; none would prove nothing.
    expect(Math.min(posted.length, removed.length)).toBeGreaterThan(rounds / 10);
    const journal = await openHere(dir);
    const live = await placesAfter(journal, revision(0));
    await journal.close();
    expect(lostOf(kept, live)).toEqual([]);
    expect(acknowledgedRounds).toBeGreaterThan(rounds / 4);
    expect(kept.size).toBeGreaterThan(rounds);
  });

  it('cannot be opened by another process while it runs', async () => {
    const dir = join(work, 'locked');
    const child = spawn(process.execPath, [writer, dir, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let opened = (): void => undefined;
    const isOpen = new Promise<void>((resolve) => {
      opened = resolve;
    });
    const said = listen(child, opened);
    await isOpen;
    try {
      await expect(openHere(dir)).rejects.toMatchObject({ reason: 'JOURNAL_LOCKED', message: expect.stringContaining(dir) });
    } finally {
      child.kill('SIGKILL');
      await said;
    }
  });
});

describe('a disk that takes no more', () => {
  it('stops acknowledging; what was acknowledged is there when there is room again', async () => {
    const dir = join(work, 'full');
    // A limit on the size of files stands for the full disk: the same write fails, with EFBIG, and no mount is needed.
    const child = spawn('sh', ['-c', 'ulimit -f 300; exec "$0" "$@"', process.execPath, writer, dir, '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said = await listen(child);
    expect(said.lines.at(-2)).toMatch(/^failed .*"reason":"JOURNAL_FAILED"/);
    expect(said.lines.at(-1)).toMatch(/^refused .*"reason":"JOURNAL_FAILED"/);

    const acknowledged = acknowledgedIn(said);
    const journal = await openHere(dir);
    expect([journal.corruption, acknowledged.size > 100]).toEqual([undefined, true]);
    expect(lostOf(acknowledged, await placesAfter(journal, revision(0)))).toEqual([]);
    await journal.close();
  });
});
