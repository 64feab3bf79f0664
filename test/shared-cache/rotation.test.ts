// Changing the deployment key, sidecar by sidecar: at every step both sides find, add and remove the same records.

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { SharedCache } from '../../src/ports.ts';
import { describeWithMemcached, type Memcached, startMemcached } from '../fakes/memcached.ts';
import { keyOf, tierOver } from './fixtures.ts';

const life = 60_000;
/** The old key and the new one, both ways round: the one order of places must not be the order of time. */
const pairs = [
  { old: 'a', fresh: 'b' },
  { old: 'b', fresh: 'a' },
];
/** The keys of a sidecar at each step; accept-before-use: two that run at once are never more than one step apart. */
const steps = ({ old, fresh }: { old: string; fresh: string }) => [
  { step: 'the old one alone', letters: [old] },
  { step: 'the new one staged', letters: [old, fresh] },
  { step: 'the new one in use', letters: [fresh, old] },
  { step: 'the new one alone', letters: [fresh] },
];
const together = pairs.flatMap((pair) => {
  const all = steps(pair);
  return all.slice(1).flatMap((later, at) => {
    const earlier = all[at] ?? later;
    return [
      { here: earlier, there: later },
      { here: later, there: earlier },
    ];
  });
});

describeWithMemcached('while the key is changed', () => {
  let servers: Memcached[] = [];
  let tiers: SharedCache[] = [];
  beforeAll(async () => {
    servers = await Promise.all([startMemcached(), startMemcached(), startMemcached()]);
  });
  afterEach(async () => {
    await Promise.all(tiers.map((tier) => tier.close()));
    tiers = [];
    await Promise.all(servers.map(({ command }) => command('flush_all')));
  });
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.close()));
  });
  function open(letters: readonly string[]): SharedCache {
    const [newest = 'a', ...others] = letters;
    const tier = tierOver(servers, { deadlineMs: 5_000, keys: [keyOf(newest), ...others.map(keyOf)] });
    tiers.push(tier);
    return tier;
  }
  const textIn = async (tier: SharedCache, name: string): Promise<string> => {
    const found = await tier.get(name);
    return found.kind === 'found' ? Buffer.from(found.value).toString() : found.kind;
  };

  it.each(together)('$here.step ($here.letters) and $there.step ($there.letters): one tier', async ({ here, there }) => {
    const [ours, theirs] = [open(here.letters), open(there.letters)];
    await ours.set('a', Buffer.from('by us'), life);
    expect(await textIn(theirs, 'a')).toBe('by us');
    await theirs.set('a', Buffer.from('by them'), life);

    expect([await textIn(ours, 'a'), await textIn(theirs, 'a')]).toEqual(['by them', 'by them']);
    expect(await ours.add('a', Buffer.from('added'), life)).toBe('exists');
    expect(await theirs.remove('a')).toBe(true);
    expect([await textIn(ours, 'a'), await textIn(theirs, 'a')]).toEqual(['missing', 'missing']);
  });

  it.each(together)(
    '$here.step ($here.letters) and $there.step ($there.letters): one of many that add is told so',
    async ({ here, there }) => {
      const sidecars = [open(here.letters), open(there.letters), open(here.letters), open(there.letters)];
      const names = Array.from({ length: 40 }, (_, n) => `lease ${n}`);
      const answers = await Promise.all(
        names.map((name) => Promise.all(sidecars.map((tier, at) => tier.add(name, Buffer.from(String(at)), life)))),
      );

      expect(answers.map((told) => told.filter((one) => one === 'added').length)).toEqual(names.map(() => 1));
      expect(answers.flat().filter((one) => one === 'unreachable')).toEqual([]);
      // Both see who it was.
      const holders = await Promise.all(names.map((name) => Promise.all(sidecars.map((tier) => textIn(tier, name)))));
      expect(holders).toEqual(answers.map((told) => sidecars.map(() => String(told.indexOf('added')))));
    },
  );

  it.each(together)(
    '$here.step ($here.letters) and $there.step ($there.letters): who lost keeps nothing taken',
    async ({ here, there }) => {
      const [ours, theirs] = [open(here.letters), open(there.letters)];
      expect(await ours.add('lease', Buffer.from('ours'), life)).toBe('added');
      expect(await theirs.add('lease', Buffer.from('theirs'), life)).toBe('exists');
      expect(await ours.remove('lease')).toBe(true);

      await expect.poll(() => theirs.add('lease', Buffer.from('theirs'), life)).toBe('added');
    },
  );

  it('where one of the places cannot be asked, nobody is told that it is alone, and who adds later finds the other taken', async () => {
    const tier = open(['a', 'b']);
    const names = Array.from({ length: 60 }, (_, n) => `lease ${n}`);
    await servers[0]?.kill();
    const answers = await Promise.all(names.map((name) => tier.add(name, Buffer.from('1'), life)));
    const again = await Promise.all(names.map((name) => tier.add(name, Buffer.from('2'), life)));
    const gone = await Promise.all(names.map((name) => tier.remove(name)));
    await servers[0]?.restart();

    expect(new Set(answers)).toEqual(new Set(['added', 'unreachable']));
    expect(again.filter((told) => told === 'added')).toEqual([]);
    expect(again.filter((told, at) => told === 'exists' && answers[at] === 'unreachable').length).toBeGreaterThan(0);
    expect(gone).toEqual(answers.map((told) => told === 'added'));
  });

  it('what is unreadable in one place and found in the other is found', async () => {
    const [before, after] = [open(['a']), open(['b', 'a'])];
    await open(['b']).set('a', Buffer.from('under b'), life);
    for (const server of servers) {
      const key = /^key=(\S+)/.exec(await server.command('lru_crawler metadump all'))?.[1];
      if (key !== undefined) await server.command(`set ${decodeURIComponent(key)} 0 0 6\r\nforged`);
    }
    expect(await textIn(after, 'a')).toBe('unreadable');
    await before.set('a', Buffer.from('under a'), life);

    expect(await textIn(after, 'a')).toBe('under a');
  });
});
