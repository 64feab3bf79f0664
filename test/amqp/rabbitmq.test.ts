// The RabbitMQ that suites start is one: what they rely on, by a client that is not ours.

import { once } from 'node:events';
import { connect as dial } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { type ChannelModel, connect } from 'amqplib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import tls from '../vectors/rabbitmq-tls.json' with { type: 'json' };

describeWithRabbitmq('a RabbitMQ of the tests', () => {
  let rabbitmq: Rabbitmq;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq({ tls: { ...tls.server, clientCa: tls.ca } });
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);

  const open = async (user = rabbitmq.user, password = rabbitmq.password, vhost = '/'): Promise<ChannelModel> => {
    const model = await connect({ hostname: rabbitmq.host, port: rabbitmq.port, username: user, password, vhost });
    model.on('error', () => undefined);
    return model;
  };
  /** Whether somebody who is not ours answers as RabbitMQ does. */
  const answers = async (port = rabbitmq.port, withinMs = 60_000): Promise<boolean> => {
    const socket = dial(port, rabbitmq.host);
    socket.on('error', () => undefined);
    socket.write('AMQP\0\0\x09\x01');
    const reply = once(socket, 'data').then(
      () => true,
      () => false,
    );
    const closed = once(socket, 'close').then(() => false);
    const late = new AbortController();
    const silence = pause(withinMs, false, { signal: late.signal }).catch(() => false);
    const answered = await Promise.race([reply, closed, silence]);
    late.abort();
    socket.destroy();
    return answered;
  };

  it('carries a message, and keeps what is durable alone over a restart of its process', async () => {
    const model = await open();
    const channel = await model.createChannel();
    await channel.assertExchange('passing', 'topic', { durable: false });
    await channel.assertQueue('staying', { durable: true });
    await channel.bindQueue('staying', 'passing', '#');
    channel.publish('passing', 'a.b', Buffer.from('one'), { persistent: true });
    expect((await until(() => channel.get('staying', { noAck: false })))?.content.toString()).toBe('one');
    const before = rabbitmq.pid;

    await rabbitmq.restart();

    expect(rabbitmq.pid).not.toBe(before);
    const again = await open();
    const then = await again.createChannel();
    expect(await then.checkQueue('staying')).toMatchObject({ messageCount: 1 });
    then.on('error', () => undefined);
    await expect(then.checkExchange('passing')).rejects.toMatchObject({ code: 404 });
    expect(await rabbitmq.queues()).toEqual(['staying']);
    await again.close();
  });

  it('is away and back, by its application, and by its process', async () => {
    await rabbitmq.stopApp();
    expect(await answers()).toBe(false);
    await rabbitmq.startApp();
    expect(await answers()).toBe(true);

    await rabbitmq.kill();
    expect(rabbitmq.pid).toBe(0);
    expect(await answers()).toBe(false);
    await expect(rabbitmq.evaluate('ok')).rejects.toThrow('ended');
    await rabbitmq.start();
    expect(await answers()).toBe(true);
  });

  it('frozen, it accepts connections and answers nothing until it goes on', async () => {
    await rabbitmq.freeze();
    expect(await answers(rabbitmq.port, 300)).toBe(false);
    rabbitmq.thaw();
    expect(await answers()).toBe(true);
  });

  it('knows users by what they may do, whatever their names and passwords are written with', async () => {
    const name = 'ünser "user"/@:\\';
    await rabbitmq.addUser(name, 'p%4 ö"', { configure: '^mine', write: '^mine', read: '.*' });
    await rabbitmq.addVhost('/other %');
    const model = await open(name, 'p%4 ö"', '/other %');
    await model.close();
    const limited = await (await open(name, 'p%4 ö"')).createChannel();
    limited.on('error', () => undefined);
    await limited.assertQueue('mine-1');
    await expect(limited.assertQueue('yours')).rejects.toMatchObject({ code: 403 });
    await expect(open(name, 'wrong')).rejects.toThrow('403');
  });

  it('closes connections, blocks who publishes, and says what failed', async () => {
    const model = await open();
    const channel = await model.createChannel();
    const blocked = once(model, 'blocked');
    await rabbitmq.block(true);
    // Who publishes after its connection has heard of the alarm is blocked, not who did before.
    const publishing = setInterval(() => channel.publish('', 'nobody', Buffer.from('x')), 100);
    await blocked;
    clearInterval(publishing);
    const free = once(model, 'unblocked');
    await rabbitmq.block(false);
    await free;
    const closed = once(model, 'close');
    await rabbitmq.closeConnections();
    await closed;
    await expect(rabbitmq.evaluate('1 = 2')).rejects.toThrow('badmatch');
  });

  it('speaks TLS to who shows the certificate that it asks for', async () => {
    const { host, tlsPort, user, password } = rabbitmq;
    const to = { protocol: 'amqps', hostname: host, port: tlsPort, username: user, password };
    const trust = { ca: tls.ca, servername: 'rabbitmq.central.example' };
    await (await connect(to, { ...trust, ...tls.client })).close();
    await expect(connect(to, trust)).rejects.toThrow();
  });
});

async function until<Value>(look: () => Promise<Value | false>): Promise<Value | undefined> {
  for (let turn = 0; turn < 1_000; turn += 1) {
    const found = await look();
    if (found !== false) return found;
    await pause(10);
  }
  return undefined;
}
