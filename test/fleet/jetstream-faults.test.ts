// What happens to a log in JetStream, on a real server: killed, hanging, deleted, made again, while somebody reads or nobody does.

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeWithNats, type Nats, startNats } from '../fakes/nats.ts';
import { engineAt, type Holder, hold, patience, stream } from './jetstream-stage.ts';

let holders: Holder[] = [];
const held = (...given: Parameters<typeof hold>): Holder => {
  const holder = hold(...given);
  holders.push(holder);
  return holder;
};
afterEach(async () => {
  await Promise.all(holders.map((holder) => holder.stop()));
  holders = [];
});

describeWithNats('A log in JetStream', () => {
  let nats: Nats;
  beforeEach(async () => {
    nats = await startNats();
  });
  afterEach(() => nats.close());
  const remove = () => nats.operate((manager) => manager.streams.delete(stream));

  it('loses nothing that it has confirmed when its server is killed in the middle of 2,000 appends', async () => {
    const reader = held(engineAt(nats.url));
    const publishers = [held(engineAt(nats.url), { reads: false }), held(engineAt(nats.url), { reads: false })];
    await Promise.all([reader, ...publishers].map((one) => one.link()));
    const all = publishers.map((_, which) => Array.from({ length: 1_000 }, (_, n) => `publisher ${which} record ${n}`));
    let confirmed = 0;
    let killed: Promise<void> | undefined;
    let unconfirmed = 0;
    const appending = publishers.flatMap((publisher, which) =>
      (all[which] ?? []).map(async (text) => {
        await publisher.append(text);
        confirmed += 1;
        if (confirmed !== 700) return;
        killed = nats.kill().then(() => {
          unconfirmed = 2_000 - confirmed;
          return nats.start();
        });
      }),
    );
    await Promise.all(appending);
    await killed;
    expect(unconfirmed).toBeGreaterThan(0);
    await expect.poll(() => new Set(reader.texts()).size, patience).toBe(2_000);
    expect(new Set(reader.texts())).toEqual(new Set(all.flat()));
    expect(reader.links.length).toBeGreaterThan(1);
    // What is read again after the restart is read under the position that it had.
    const placed = new Map(reader.read.map(({ position, bytes }) => [position, Buffer.from(bytes).toString()]));
    for (const { position, bytes } of reader.read) expect(placed.get(position)).toBe(Buffer.from(bytes).toString());
  });

  it('hangs, and is given up within ten seconds, whether somebody reads or nobody does anything', async () => {
    const [reader, idle] = [held(engineAt(nats.url)), held(engineAt(nats.url), { reads: false })];
    const links = await Promise.all([reader.link(), idle.link()]);
    await reader.append('a');
    await nats.freeze();
    const beganMs = performance.now();
    const ends = links.map((link) => once(link.signal, 'abort').then(() => performance.now() - beganMs));
    for (const endMs of await Promise.all(ends)) expect(endMs).toBeLessThan(10_000);
    expect(links.map((link) => String(link.signal.reason))).toEqual([
      expect.stringContaining('no sign of life, to who reads'),
      expect.stringContaining('has given no sign of life'),
    ]);
    expect(reader.engine.health()).toMatchObject({ reachable: false });
    nats.thaw();
    await idle.append('b');
    await expect.poll(() => reader.texts().at(-1), patience).toBe('b');
  });

  it('is deleted: who reads notices at once, and makes it again', async () => {
    const reader = held(engineAt(nats.url));
    await reader.append('a');
    await expect.poll(reader.texts, patience).toEqual(['a']);
    const link = await reader.link();
    await remove();
    await expect.poll(() => String(link.signal.reason), patience).toContain('has ended the reading');
    await reader.append('b');
    await expect.poll(reader.texts, patience).toEqual(['a', 'b']);
  });

  it('is deleted while nobody reads: who appends is told by the first record that nobody takes', async () => {
    const appender = held(engineAt(nats.url), { reads: false });
    await appender.append('a');
    const link = await appender.link();
    await remove();
    await expect(link.append(Buffer.from('b'))).rejects.toThrow('no stream for our records any more');
    expect(link.signal.aborted).toBe(true);
    await appender.append('c');
    expect(await nats.operate((manager) => manager.streams.info(stream))).toMatchObject({ state: { messages: 1 } });
  });

  it('is made again while nobody is there: positions begin anew, and one from before is beyond its newest', async () => {
    const one = held(engineAt(nats.url));
    for (const text of ['a', 'b', 'c']) await one.append(text);
    await expect.poll(one.texts, patience).toEqual(['a', 'b', 'c']);
    const stoodAt = one.read.at(-1)?.position ?? 0;
    await one.stop();
    await remove();
    const maker = held(engineAt(nats.url));
    await maker.append('x');
    const back = held(engineAt(nats.url), { from: stoodAt });
    await back.link();
    await maker.append('y');
    await maker.append('z');
    await expect.poll(back.texts, patience).toEqual(['z']);
    await expect.poll(maker.texts, patience).toEqual(['x', 'y', 'z']);
    expect(maker.read.map(({ position }) => position)).toEqual([1, 2, 3]);
  });

  it('is made again by somebody else while it is read: the reading ends, and the next one is of the new log', async () => {
    const reader = held(engineAt(nats.url));
    await reader.append('a');
    await expect.poll(reader.texts, patience).toEqual(['a']);
    const link = await reader.link();
    await nats.operate(async (manager) => {
      const { config } = await manager.streams.info(stream);
      await manager.streams.delete(stream);
      await manager.streams.add(config);
    });
    await expect.poll(() => link.signal.aborted, patience).toBe(true);
    await reader.append('b');
    await expect.poll(() => reader.read.map(({ position }) => position), patience).toEqual([1, 1]);
    expect(reader.texts()).toEqual(['a', 'b']);
  });

  it('goes on where a reader is thrown out', async () => {
    const reader = held(engineAt(nats.url));
    await reader.append('a');
    await expect.poll(reader.texts, patience).toEqual(['a']);
    const link = await reader.link();
    await nats.operate(async (manager) => {
      for await (const consumer of manager.consumers.list(stream)) await manager.consumers.delete(stream, consumer.name);
    });
    await expect.poll(() => link.signal.aborted, patience).toBe(true);
    await reader.append('b');
    await expect.poll(() => reader.texts().at(-1), patience).toBe('b');
    expect(reader.texts()).toEqual(['a', 'a', 'b']);
  });

  it('may be purged: what is left, and what comes, is read', async () => {
    const reader = held(engineAt(nats.url));
    for (const text of ['a', 'b']) await reader.append(text);
    await expect.poll(reader.texts, patience).toEqual(['a', 'b']);
    await nats.operate((manager) => manager.streams.purge(stream));
    await reader.append('c');
    await expect.poll(reader.texts, patience).toEqual(['a', 'b', 'c']);
    expect(reader.links).toHaveLength(1);
  });
});

describe('A server that accepts connections and says nothing', () => {
  it('is given up, its sockets too, also when nobody wants them any more', async () => {
    const sockets = new Set<Socket>();
    let accepted = 0;
    const silent = createServer((socket) => {
      accepted += 1;
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => sockets.delete(socket));
      socket.resume();
    });
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const one = held(engineAt(`nats://127.0.0.1:${(silent.address() as AddressInfo).port}`));
    await expect.poll(() => accepted, patience).toBe(2);
    expect(one.engine.health()).toMatchObject({ reachable: false, problem: expect.stringContaining('gave no answer') });
    expect(sockets.size).toBe(1);
    await one.stop();
    await expect.poll(() => sockets.size, patience).toBe(0);
    silent.close();
  });
});
