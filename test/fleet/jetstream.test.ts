// What is JetStream's own: which stream is used and how, what it takes, and whom it believes. On real servers.

import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { nkeys } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { LogRecord } from '../../src/ports.ts';
import { describeWithNats, type Nats, startNats } from '../fakes/nats.ts';
import { createAuthority } from '../fakes/pki.ts';
import { tlsPair } from '../fakes/tls-pair.ts';
import { engineAt, type Holder, hold, patience, says, stream } from './jetstream-stage.ts';

const nanosecondsPerMs = 1_000_000;
const hour = 3_600_000 * nanosecondsPerMs;
const wanted = {
  name: stream,
  subjects: [`${stream}.entries`],
  storage: 'file',
  retention: 'limits',
  discard: 'old',
  max_age: hour,
  num_replicas: 1,
} as const;
const file = (text: string) => ({ read: async () => text });

let holders: Holder[] = [];
const held = (...given: Parameters<typeof hold>): Holder => {
  const holder = hold(...given);
  holders.push(holder);
  return holder;
};
let servers: Nats[] = [];
const started = async (...given: Parameters<typeof startNats>): Promise<Nats> => {
  const nats = await startNats(...given);
  servers.push(nats);
  return nats;
};
afterEach(async () => {
  await Promise.all(holders.map((holder) => holder.stop()));
  holders = [];
  await Promise.all(servers.map((nats) => nats.close()));
  servers = [];
});

describeWithNats('The stream of a log', () => {
  let nats: Nats;
  beforeAll(async () => {
    nats = await startNats();
  });
  afterEach(() => nats.operate((manager) => manager.streams.delete(stream)).catch(() => false));
  afterAll(() => nats.close());
  const engine = (options: Parameters<typeof engineAt>[1] = {}) => engineAt(nats.url, options);

  it('is made as it is wanted, and nothing is said of it', async () => {
    const one = held(engine());
    await one.append('a');
    expect(one.engine.health()).toEqual({ reachable: true, lastAnswerAtMs: expect.any(Number) });
    const { config } = await nats.operate((manager) => manager.streams.info(stream));
    expect(config).toMatchObject(wanted);
  });

  it('is used as it is where it is kept otherwise, and that is said', async () => {
    await nats.operate((manager) => manager.streams.add({ ...wanted, storage: 'memory', max_age: hour / 2 }));
    const one = held(engine({ replicas: 3 }));
    await one.append('a');
    await expect.poll(one.texts, patience).toEqual(['a']);
    const { reachable, problem } = one.engine.health();
    expect(reachable).toBe(true);
    for (const words of ['for 1800 s, not 3600 s', 'in memory', '1 replicas, not 3']) expect(problem).toContain(words);
    expect((await nats.operate((manager) => manager.streams.info(stream))).config).toMatchObject({ storage: 'memory', max_age: hour / 2 });
  });

  it.each([
    ['other subjects', { subjects: ['somebody.else'] }, 'has other subjects'],
    ['more subjects', { subjects: [`${stream}.entries`, 'somebody.else'] }, 'has other subjects'],
    ['a retention that forgets what was read', { retention: 'workqueue' as const }, 'forgets what has been read'],
    ['no confirmations', { no_ack: true }, 'confirms nothing'],
  ])('with %s is left alone, in words, until it is another', async (_, otherwise, words) => {
    await nats.operate((manager) => manager.streams.add({ ...wanted, ...otherwise }));
    const one = held(engine());
    expect(await says(one.engine, words)).toBe(false);
    expect(one.links).toEqual([]);
    await nats.operate((manager) => manager.streams.delete(stream));
    await one.append('a');
    expect(one.engine.health()).toMatchObject({ reachable: true });
  });

  it('cannot be made where somebody else has its subject', async () => {
    await nats.operate((manager) => manager.streams.add({ ...wanted, name: 'other' }));
    const one = held(engine());
    expect(await says(one.engine, 'has another stream with our subject')).toBe(false);
    await nats.operate((manager) => manager.streams.delete('other'));
    await one.append('a');
  });

  it('cannot have three replicas on one server, which is said', async () => {
    expect(await says(held(engine({ replicas: 3 })).engine, 'is no cluster')).toBe(false);
  });

  it('is made once by twelve who want it differently, and all of them use it', async () => {
    const all = Array.from({ length: 12 }, (_, n) => held(engine({ retentionMs: 3_600_000 + (n % 2) * 1_000 })));
    await Promise.all(all.map((one, n) => one.append(`record ${n}`)));
    for (const one of all) await expect.poll(() => one.read.length, patience).toBe(12);
    const remarks = all.filter((one) => one.engine.health().problem?.includes('is used as it is'));
    expect(remarks).toHaveLength(6);
    expect(all.every((one) => one.engine.health().reachable)).toBe(true);
  });

  it('forgets by age: who reads from the oldest, or from what is forgotten, begins with what is retained', async () => {
    const one = held(engine({ retentionMs: 1_000 }));
    await one.append('old');
    await one.append('older than some');
    await expect.poll(() => one.read.length, patience).toBe(2);
    const first = async () => (await nats.operate((manager) => manager.streams.info(stream))).state;
    await expect.poll(first, patience).toMatchObject({ messages: 0, first_seq: 3 });
    const [whole, forgotten] = [held(engine({ retentionMs: 1_000 })), held(engine({ retentionMs: 1_000 }), { from: 1 })];
    await Promise.all([whole.link(), forgotten.link()]);
    await one.append('new');
    for (const reader of [whole, forgotten]) {
      await expect.poll(reader.texts, patience).toEqual(['new']);
      expect(reader.read[0]?.position).toBe(3);
    }
    expect(one.texts()).toEqual(['old', 'older than some', 'new']);
  });

  it('gives nothing from beyond its newest until it has grown so far', async () => {
    const one = held(engine());
    await one.append('first');
    const ahead = held(engine(), { from: 4 });
    await ahead.link();
    for (const text of ['second', 'third', 'fourth', 'fifth']) await one.append(text);
    await expect.poll(ahead.texts, patience).toEqual(['fourth', 'fifth']);
  });

  it('has one reader over a link, and forgets who has stopped', async () => {
    await held(engine(), { reads: false }).append('a');
    const stop = new AbortController();
    const state = async () => (await nats.operate((manager) => manager.streams.info(stream))).state;
    const seen: number[] = [];
    const take = async (batch: readonly LogRecord[]) => void seen.push(...batch.map(({ position }) => position));
    await engine().run(async (link) => {
      const over = new AbortController();
      const reading = link.read(undefined, take, over.signal);
      await expect.poll(() => seen, patience).toEqual([1]);
      await expect.poll(state, patience).toMatchObject({ consumer_count: 1 });
      await expect(link.read(undefined, take, over.signal)).rejects.toThrow('read already');
      over.abort();
      await reading;
      await expect.poll(state, patience).toMatchObject({ consumer_count: 0 });
      expect(link.signal.aborted).toBe(false);
      stop.abort();
    }, stop.signal);
    expect(stop.signal.aborted).toBe(true);
  });

  it('that is full refuses, in words; who reads goes on, and so does who appends when there is room', async () => {
    await nats.operate((manager) => manager.streams.add({ ...wanted, discard: 'new', max_msgs: 2 }));
    const [one, reader] = [held(engine(), { reads: false }), held(engine())];
    await one.append('a');
    await one.append('b');
    const link = await one.link();
    await expect(link.append(Buffer.from('c'))).rejects.toThrow('takes no more records (10077)');
    expect(one.engine.health()).toMatchObject({ reachable: false, problem: expect.stringContaining('takes no more records') });
    await nats.operate((manager) => manager.streams.purge(stream));
    await link.append(Buffer.from('d'));
    expect(one.engine.health()).toEqual({ reachable: true, lastAnswerAtMs: expect.any(Number) });
    await expect.poll(reader.texts, patience).toEqual(['a', 'b', 'd']);
    expect(reader.links).toHaveLength(1);
  });

  it('takes the same bytes twice, and again after a purge', async () => {
    const one = held(engine());
    await one.append('a');
    await one.append('a');
    await nats.operate((manager) => manager.streams.purge(stream));
    await one.append('a');
    await expect.poll(() => one.read.length, patience).toBe(3);
    expect(one.read.map(({ position }) => position)).toEqual([1, 2, 3]);
  });
});

describeWithNats('Records of a log', () => {
  it('may be as large as the server takes; a larger one is refused, and nothing else', async () => {
    const nats = await started({ maxPayloadBytes: 8 << 20 });
    const one = held(engineAt(nats.url));
    const link = await one.link();
    // More than one pull takes; twice one that is larger than a whole pull.
    const sizes = [900_000, 900_000, 5 << 20, 900_000, 900_000, 900_000, 900_000, 900_000, 6 << 20, 1, 4 << 20, 0];
    for (const [n, size] of sizes.entries()) await link.append(Buffer.alloc(size, n));
    await expect(link.append(Buffer.alloc(9 << 20))).rejects.toMatchObject({ reason: 'RECORD_TOO_LARGE' });
    await link.append(Buffer.from('last'));
    await expect.poll(() => one.read.length, patience).toBe(sizes.length + 1);
    expect(one.read.slice(0, -1).map(({ bytes }) => bytes.length)).toEqual(sizes);
    expect(one.read.slice(0, -2).every(({ bytes }, n) => bytes[0] === n)).toBe(true);
    expect(one.links).toEqual([link]);
  });
});

describeWithNats('A server that is no good', () => {
  const nobody = nkeys.createUser();
  const somebody = nkeys.createUser();
  const credsOf = (user: typeof nobody) => {
    const seed = Buffer.from(user.getSeed()).toString();
    return `-----BEGIN NATS USER JWT-----\neyJ0.e30.c2ln\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`;
  };
  const secured = (nats: Nats) => `tls://127.0.0.1:${nats.port}`;

  it('has no JetStream, which is said', async () => {
    const nats = await started({ isPlain: true });
    expect(await says(held(engineAt(nats.url)).engine, 'has no JetStream')).toBe(false);
  });

  it('is no NATS, or is not there, which is said; the next one is tried', async () => {
    const other = createServer((socket) => socket.end('220 mail.example ESMTP\r\n'));
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    expect(await says(held(engineAt(`nats://127.0.0.1:${port}`)).engine, 'does not speak NATS')).toBe(false);
    expect(await says(held(engineAt('http://127.0.0.1')).engine, 'not of the form nats://')).toBe(false);
    expect(await says(held(engineAt('nats://me:secret@127.0.0.1')).engine, /^(?!.*secret).*belong in a file/)).toBe(false);
    const nats = await started();
    const one = held(engineAt([`nats://127.0.0.1:${port}`, nats.url]));
    await one.append('a');
    await nats.kill();
    expect(await says(held(engineAt(nats.url)).engine, 'cannot be reached (ECONNREFUSED)')).toBe(false);
    other.close();
  });

  it('must have a certificate that we trust', async () => {
    const nats = await started({ tls: 'server' });
    const one = held(
      engineAt(secured(nats), { tls: { caFile: file(tlsPair.cert), certFile: undefined, keyFile: undefined, serverName: undefined } }),
    );
    await one.append('a');
    // Nothing that an operator would wonder at.
    expect(nats.log()).not.toContain('[ERR]');
    const other = { caFile: file(createAuthority().pem), certFile: undefined, keyFile: undefined, serverName: undefined };
    expect(await says(held(engineAt(secured(nats), { tls: other })).engine, 'cannot be trusted')).toBe(false);
    const named = { caFile: file(tlsPair.cert), certFile: undefined, keyFile: undefined, serverName: 'nats.example' };
    expect(await says(held(engineAt(secured(nats), { tls: named })).engine, /cannot be trusted.*ALTNAME/)).toBe(false);
    // The system's, which does not know it either; also where the address says nothing of TLS.
    expect(await says(held(engineAt(secured(nats))).engine, 'cannot be trusted')).toBe(false);
    expect(await says(held(engineAt(nats.url, { tls: other })).engine, 'cannot be trusted')).toBe(false);
    await nats.kill();
    expect(await says(one.engine, 'cannot be reached')).toBe(false);
  });

  it('may want a certificate of ours', async () => {
    const nats = await started({ tls: 'both' });
    const ca = file(tlsPair.cert);
    const own = { caFile: ca, certFile: ca, keyFile: file(tlsPair.key), serverName: undefined };
    await held(engineAt(secured(nats), { tls: own })).append('a');
    const without = held(engineAt(secured(nats), { tls: { caFile: ca, certFile: undefined, keyFile: undefined, serverName: undefined } }));
    expect(await says(without.engine, /cannot be trusted|closed the connection/)).toBe(false);
    expect(without.links).toEqual([]);
  });

  it('is not spoken to in clear where TLS is wanted', async () => {
    const nats = await started();
    expect(await says(held(engineAt(secured(nats))).engine, 'does not speak TLS')).toBe(false);
  });

  it('wants to know who we are, and what it refuses is said without repeating it', async () => {
    const nats = await started({ users: [somebody.getPublicKey()] });
    await held(engineAt(nats.url, { credentials: file(credsOf(somebody)) })).append('a');
    for (const credentials of [undefined, file(credsOf(nobody))]) {
      expect(await says(held(engineAt(nats.url, { credentials })).engine, 'refuses who we are')).toBe(false);
    }
    expect(await says(held(engineAt(nats.url, { credentials: file('secret') })).engine, /^(?!.*secret).*not as nsc writes it/)).toBe(false);
    expect(nats.log()).not.toContain(Buffer.from(somebody.getSeed()).toString());
  });

  it.each(['$JS.API.STREAM.INFO.>', '$JS.API.CONSUMER.CREATE.>', '$JS.API.CONSUMER.MSG.NEXT.>'])(
    'says that it refuses us %s',
    async (deny) => {
      const nats = await started({ users: [somebody.getPublicKey()], deny });
      const one = held(engineAt(nats.url, { credentials: file(credsOf(somebody)) }));
      expect(await says(one.engine, 'refuses what we need')).toBe(false);
    },
  );

  it('says that it refuses us to append', async () => {
    const nats = await started({ users: [somebody.getPublicKey()], deny: `${stream}.entries` });
    const one = held(engineAt(nats.url, { credentials: file(credsOf(somebody)) }), { reads: false });
    await expect((await one.link()).append(Buffer.from('a'))).rejects.toThrow('refuses what we need');
    expect(one.engine.health()).toMatchObject({ reachable: false, problem: expect.stringContaining('refuses what we need') });
  });

  it('has credentials that are replaced: what is in the file now is used from the next connection on', async () => {
    const nats = await started({ users: [somebody.getPublicKey()] });
    let text = credsOf(nobody);
    const one = held(engineAt(nats.url, { credentials: { read: async () => text } }));
    expect(await says(one.engine, 'refuses who we are')).toBe(false);
    text = credsOf(somebody);
    await one.append('a');
    expect(one.engine.health()).toMatchObject({ reachable: true });
  });
});
