// A fleet's log in a real RabbitMQ: what every engine must do, and RabbitMQ's own traps.

import { Socket } from 'node:net';
import { type ChannelModel, connect, type Options } from 'amqplib';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RabbitmqStreamOptions } from '../../src/fleet/rabbitmq-stream.ts';
import type { Logger, LogRecord } from '../../src/ports.ts';
import { engineConformance } from '../conformance/engine.ts';
import { inClear, text } from '../fakes/amqp.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import tls from '../vectors/rabbitmq-tls.json' with { type: 'json' };
import { engineAt, type Held, hold, newStream, readFrom, removeStream, streamHarness } from './rabbitmq-stage.ts';

const patience = { timeout: 60_000, interval: 10 };

describeWithRabbitmq('a RabbitMQ stream', () => {
  let rabbitmq: Rabbitmq;
  const helds: Held[] = [];
  beforeAll(async () => {
    rabbitmq = await startRabbitmq({ tls: tls.server });
  }, 240_000);
  afterEach(async () => {
    await Promise.all(helds.splice(0).map((held) => held.stop()));
  }, 60_000);
  afterAll(() => rabbitmq?.close(), 60_000);

  const join = (options: Partial<RabbitmqStreamOptions>, log?: Logger): Held => {
    const held = hold(engineAt(rabbitmq, options, log));
    helds.push(held);
    return held;
  };
  const dial = async (): Promise<ChannelModel> => {
    const { host: hostname, port, user: username, password } = rabbitmq;
    const model = await connect({ hostname, port, username, password });
    model.on('error', () => undefined);
    return model;
  };
  /** Makes a queue, by a client that is not ours. */
  const declare = async (queue: string, options: Options.AssertQueue): Promise<void> => {
    const model = await dial();
    await (await model.createChannel()).assertQueue(queue, options);
    await model.close();
  };
  const append = async (held: Held, ...texts: readonly string[]): Promise<void> => {
    const link = await held.link();
    await Promise.all(texts.map((one) => link.append(Buffer.from(one))));
  };
  const numbered = (count: number, what = 'record'): readonly string[] => Array.from({ length: count }, (_, n) => `${what} ${n}`);

  engineConformance('a RabbitMQ stream', async () => streamHarness(rabbitmq));

  describe('that was deleted', () => {
    it('and made again while it was read ends the reading, and the next connection reads the new one', async () => {
      const stream = newStream();
      const held = join({ stream });
      await append(held, 'old');
      const first = await held.link();
      const reading = readFrom(first);
      await expect.poll(reading.texts, patience).toEqual(['old']);
      await removeStream(rabbitmq, stream);
      const other = join({ stream });
      await append(other, 'new');

      expect(String(await reading.end)).toContain('it was deleted');
      expect(first.signal.aborted).toBe(true);
      await expect(first.append(Buffer.from('x'))).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE' });
      const again = readFrom(await held.link());
      await expect.poll(again.texts, patience).toEqual(['new']);
    });

    it('and made again while nobody looked: a position of the old one brings nothing that is below it, however much comes', async () => {
      const stream = newStream();
      const held = join({ stream });
      await append(held, ...numbered(6, 'old'));
      await held.stop();
      await removeStream(rabbitmq, stream);

      const back = join({ stream });
      const beyond = readFrom(await back.link(), 5);
      const whole = readFrom(await join({ stream }).link());
      await append(back, ...numbered(5, 'new'));
      await expect.poll(whole.texts, patience).toEqual(numbered(5, 'new'));
      await append(back, 'at 5', 'at 6');
      await expect.poll(() => whole.texts().length, patience).toBe(7);
      await expect.poll(beyond.texts, patience).toEqual(['at 5', 'at 6']);
    });

    it('while it was only appended to: what the new one does not hold is not confirmed, and it is made again', async () => {
      const stream = newStream();
      const held = join({ stream });
      await append(held, 'old');
      const first = await held.link();
      await removeStream(rabbitmq, stream);
      await expect(first.append(Buffer.from('into nothing'))).rejects.toThrow(`has no stream ${stream} any more`);
      await expect.poll(() => held.links.length, patience).toBe(2);
      await append(held, 'new');
      const reading = readFrom(await held.link());
      await expect.poll(reading.texts, patience).toEqual(['new']);
    });

    it('and made again between two appends: what was confirmed is in the new one', async () => {
      const stream = newStream();
      const held = join({ stream });
      await append(held, 'old');
      const first = await held.link();
      await removeStream(rabbitmq, stream);
      const other = join({ stream });
      await append(other, 'of another');
      const confirmed = await first.append(Buffer.from('of the first')).then(
        () => ['of the first'],
        () => [],
      );
      const reading = readFrom(await other.link());
      await expect.poll(reading.texts, patience).toEqual(expect.arrayContaining(['of another', ...confirmed]));
      expect(reading.texts()).not.toContain('old');
    });
  });

  it('is trimmed by age, whole segments at a time: what is gone is skipped, and positions stay', async () => {
    const kept = { stream: newStream(), retentionMs: 1_000, segmentBytes: 20_000 };
    const link = await join(kept).link();
    const following = readFrom(link);
    const other = await join(kept).link();
    const appended: string[] = [];
    const oldest = async (): Promise<number | undefined> => {
      const more = Array.from({ length: 50 }, (_, n) => `${appended.length + n}`.padStart(1_000, '-'));
      appended.push(...more);
      await Promise.all(more.map((one) => link.append(Buffer.from(one))));
      const reading = readFrom(other, 0);
      await vi.waitFor(() => expect(reading.records.length).toBeGreaterThan(0), patience);
      await reading.stop();
      return reading.records[0]?.position;
    };
    await expect.poll(oldest, { timeout: 60_000, interval: 200 }).toBeGreaterThan(0);
    await expect.poll(() => following.records.length, patience).toBe(appended.length);
    expect(following.texts()).toEqual(appended);
    const positions = following.records.map(({ position }) => position);
    expect(positions).toEqual(positions.toSorted((one, other) => one - other));
    // What RabbitMQ writes for itself has positions too.
    expect(positions.at(-1)).toBeGreaterThan(appended.length);
  });

  describe('that somebody else has made', () => {
    const typed = { 'x-queue-type': 'stream', 'x-stream-max-segment-size-bytes': 16 * 1_024 * 1_024 };
    it.each([
      ['another age', { 'x-max-age': '10s', ...typed }, 'x-max-age'],
      ['another limit', { 'x-max-age': '3600s', 'x-max-length-bytes': 1_000_000, ...typed }, 'x-max-length-bytes'],
    ])('with %s is used as it is, and that is said', async (_, settings, named) => {
      const stream = newStream();
      await declare(stream, { durable: true, arguments: settings });
      const held = join({ stream });
      await append(held, 'one');
      await expect.poll(readFrom(await held.link()).texts, patience).toEqual(['one']);
      expect(held.engine.health()).toMatchObject({
        reachable: true,
        problem: `the stream ${stream} was made with another ${named}: it may keep records for a shorter time than wanted`,
      });
    });

    it.each([
      ['a classic queue', { durable: true }],
      ['a queue that passes', { durable: false, arguments: { 'x-expires': 600_000 } }],
      ['a quorum queue', { durable: true, arguments: { 'x-queue-type': 'quorum', 'x-max-length': 10 } }],
    ])('as %s is not used, and nothing is sent to it or taken from it', async (_, settings) => {
      const stream = newStream();
      await declare(stream, settings);
      const model = await dial();
      const channel = await model.createConfirmChannel();
      channel.sendToQueue(stream, Buffer.from('for somebody else'));
      await channel.waitForConfirms();
      const held = join({ stream });
      await expect
        .poll(() => held.engine.health(), patience)
        .toMatchObject({ reachable: false, problem: expect.stringContaining(`has a queue ${stream} that is not a stream`) });
      expect(held.links).toEqual([]);
      await held.stop();
      expect(await channel.get(stream)).toMatchObject({ fields: { redelivered: false, messageCount: 0 } });
      await model.close();
    });
  });

  describe('by a user who may not', () => {
    const everything = { configure: '.*', write: '.*', read: '.*' };
    const as = async (name: string, rights: Partial<typeof everything>): Promise<Partial<RabbitmqStreamOptions>> => {
      await rabbitmq.addUser(name, 'secret', { ...everything, ...rights });
      return { transportUrl: text(`rabbit://${name}:secret@${rabbitmq.host}:${rabbitmq.port}/`), stream: newStream() };
    };
    it.each([
      ['make it, where there is none', 'maker', { configure: '^$' }, /there is no stream .*, and our user needs the right to configure it/],
      ['append', 'writer', { write: '^$' }, /our user needs the right to write amq\.default$/],
      ['read', 'reader', { read: '^$' }, /our user needs the right to read sidegate\.test/],
    ])('%s, is not reachable, and which right is missing is said', async (_, name, rights, problem) => {
      const held = join(await as(name, rights));
      await expect.poll(() => held.engine.health(), patience).toMatchObject({ reachable: false, problem: expect.stringMatching(problem) });
      expect(held.links).toEqual([]);
      await rabbitmq.allow(name, everything);
      await append(held, 'now');
      expect(held.engine.health()).toEqual({ reachable: true, lastAnswerAtMs: expect.any(Number) });
    });

    it('make it, is used where somebody else has made it', async () => {
      const options = await as('guest of a stream', { configure: '^$' });
      const made = join({ stream: options.stream ?? '' });
      await append(made, 'one');
      const held = join(options);
      await expect.poll(readFrom(await held.link()).texts, patience).toEqual(['one']);
      expect(held.engine.health()).toMatchObject({ reachable: true, problem: expect.stringContaining('cannot be told') });
    });
  });

  it('is reached over TLS, by its certificate’s name alone', async () => {
    const transportUrl = text(`rabbit://${rabbitmq.user}:${rabbitmq.password}@${rabbitmq.host}:${rabbitmq.tlsPort}/`);
    const trust = { ...inClear, caFile: text(tls.ca), serverName: 'rabbitmq.central.example' };
    const held = join({ transportUrl, tls: trust });
    await append(held, 'one');
    await expect.poll(readFrom(await held.link()).texts, patience).toEqual(['one']);

    const { lastAnswerAtMs = Number.POSITIVE_INFINITY } = held.engine.health();
    const answered = async (): Promise<number | undefined> => {
      await append(held, 'another');
      return held.engine.health().lastAnswerAtMs;
    };
    await expect.poll(answered, patience).toBeGreaterThan(lastAnswerAtMs);

    const misled = join({ transportUrl, tls: { ...trust, serverName: 'rabbitmq.north.example' } });
    await expect.poll(() => misled.engine.health().problem, patience).toContain('cannot be trusted');
  });

  it('has two connections of each sidecar, which send at once, are named, and say goodbye', async () => {
    const noDelay = vi.spyOn(Socket.prototype, 'setNoDelay');
    const held = join({ connectionName: 'sidegate here' });
    await held.link();
    expect(noDelay.mock.calls).toEqual([[true], [true]]);
    noDelay.mockRestore();
    const names = async (): Promise<readonly string[]> => {
      const told = await rabbitmq.evaluate(
        '[rabbit_networking:connection_info(C, [client_properties]) || C <- rabbit_networking:connections()]',
      );
      return [...told.matchAll(/sidegate here[a-z ]*/g)].map(([name]) => name).toSorted();
    };
    expect(await names()).toEqual(['sidegate here', 'sidegate here publishing']);
    const before = rabbitmq.log().length;
    await held.stop();
    await expect.poll(names, patience).toEqual([]);
    await expect
      .poll(
        () =>
          rabbitmq
            .log()
            .slice(before)
            .match(/closing AMQP connection .*sidegate here/g)?.length,
        patience,
      )
      .toBe(2);
    expect(rabbitmq.log().slice(before)).not.toMatch(/sidegate here[^\n]*\n[^\n]*unexpectedly/);
  });

  it.each(['sidegate half', 'sidegate half publishing'])(
    'ends with either of its connections, here %s, and has two again',
    async (name) => {
      const held = join({ connectionName: 'sidegate half' });
      const link = await held.link();
      const reading = readFrom(link);
      // It reads, and is not opening yet.
      await append(held, 'none');
      await expect.poll(reading.texts, patience).toEqual(['none']);
      const named = `{client_properties, P} <- rabbit_networking:connection_info(C, [client_properties]), {<<"connection_name">>, _, <<"${name}">>} <- P`;
      await rabbitmq.evaluate(`[rabbit_networking:close_connection(C, "by a test") || C <- rabbit_networking:connections(), ${named}]`);
      expect(String(await reading.end)).toContain('was told to close the connection (320)');
      expect(link.signal.aborted).toBe(true);
      await append(held, 'one');
      await expect.poll(readFrom(await held.link()).texts, patience).toEqual(['none', 'one']);
    },
  );

  it('of a broker that is short of disk is read on, and appended to when it is not any more', async () => {
    const stream = newStream();
    const { log, lines } = createFakeTelemetry();
    const [held, other] = [join({ stream }, log), join({ stream })];
    await append(held, 'before');
    const link = await held.link();
    const reading = readFrom(await other.link());
    await expect.poll(reading.texts, patience).toEqual(['before']);
    await rabbitmq.block(true);
    try {
      const beganMs = performance.now();
      const waiting = expect(link.append(Buffer.from('late'))).rejects.toThrow('has blocked who publishes');
      await expect
        .poll(() => held.engine.health(), patience)
        .toMatchObject({ reachable: false, problem: expect.stringContaining('blocked') });
      // Who comes meanwhile reads too.
      const newcomer = join({ stream });
      await expect.poll(readFrom(await newcomer.link()).texts, patience).toEqual(['before']);
      await waiting;
      expect(performance.now() - beganMs).toBeLessThan(11_000);
      expect(link.signal.aborted).toBe(false);
    } finally {
      await rabbitmq.block(false);
    }
    await append(held, 'after');
    await expect.poll(reading.texts, patience).toContain('after');
    expect(held.links).toHaveLength(1);
    expect(held.engine.health().reachable).toBe(true);
    await held.stop();
    expect(lines.map(({ level, fields, message }) => [level, fields['problem'], message])).toEqual([
      ['info', undefined, 'the fleet’s log is at hand'],
      ['warn', expect.stringContaining('short of memory or disk'), 'the fleet’s log is away'],
      ['info', undefined, 'the fleet’s log is at hand'],
    ]);
  });

  it('whose broker is killed and started amid 2,000 appends of two has every one that was confirmed, for who read all the while', async () => {
    const stream = newStream();
    const confirmed = new Set<string>();
    const writers = [join({ stream }), join({ stream })];
    const read: string[] = [];
    let from: number | undefined;
    const stopping = new AbortController();
    const reading = engineAt(rabbitmq, { stream }).run(async (link) => {
      const take = async (batch: readonly LogRecord[]): Promise<void> => {
        read.push(...batch.map(({ bytes }) => Buffer.from(bytes).toString()));
        from = batch.at(-1)?.position ?? from;
      };
      await link.read(from, take, stopping.signal);
    }, stopping.signal);
    const writing = writers.map(async (writer, at) => {
      for (const one of numbered(1_000, `writer ${at}: record`)) {
        // As whoever publishes: until it is confirmed.
        while (!confirmed.has(one)) {
          await (await writer.link()).append(Buffer.from(one)).then(
            () => confirmed.add(one),
            () => undefined,
          );
        }
      }
    });
    await expect.poll(() => confirmed.size, patience).toBeGreaterThan(500);
    expect(confirmed.size).toBeLessThan(1_900);
    await rabbitmq.kill();
    await rabbitmq.start();
    await Promise.all(writing);
    expect(confirmed.size).toBe(2_000);
    await expect.poll(() => [...confirmed].filter((one) => !read.includes(one)), { timeout: 60_000, interval: 100 }).toEqual([]);
    stopping.abort();
    await reading;
  }, 240_000);
});
