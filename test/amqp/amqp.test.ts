// Connections to a real RabbitMQ: hosts, credentials, TLS, and what is said where they fail.

import { once } from 'node:events';
import { createServer, type LookupFunction, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Amqp, type AmqpOptions, createAmqp, type TextFile } from '../../src/amqp/amqp.ts';
import type { AmqpLink } from '../../src/amqp/amqp-link.ts';
import { systemClock } from '../../src/sidecar.ts';
import { inClear, text } from '../fakes/amqp.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from '../fakes/rabbitmq.ts';
import { tlsPair } from '../fakes/tls-pair.ts';
import tls from '../vectors/rabbitmq-tls.json' with { type: 'json' };

const patience = { timeout: 300_000 };
const name = 'rabbitmq.central.example';

/** One that runs. */
interface Running {
  readonly amqp: Amqp;
  /** Every connection that stood, by its server. */
  readonly servers: string[];
  stop(): Promise<void>;
}

const runs: Running[] = [];
const servers: Server[] = [];
afterEach(async () => {
  await Promise.all(runs.splice(0).map((running) => running.stop()));
  for (const server of servers.splice(0)) server.close();
}, 60_000);

/** Each connection is of use, and is held until it ends. */
async function holdOn(link: AmqpLink): Promise<void> {
  await link.ask((channel) => channel.checkExchange('amq.topic'));
  link.works();
  await new Promise((resolve) => link.signal.addEventListener('abort', resolve, { once: true }));
}

function run(options: Partial<AmqpOptions>, session: (link: AmqpLink) => Promise<void> = holdOn, resolve?: LookupFunction): Running {
  const amqp = createAmqp(
    { transportUrl: text(''), tls: inClear, connectionName: 'sidegate test', ...options },
    { clock: systemClock, random: () => 0, ...(resolve && { resolve }) },
  );
  const found: string[] = [];
  const stopping = new AbortController();
  const ended = amqp.run(async (link) => {
    found.push(link.server);
    await session(link);
  }, stopping.signal);
  const running: Running = {
    amqp,
    servers: found,
    async stop() {
      stopping.abort();
      await ended;
    },
  };
  runs.push(running);
  return running;
}

const connected = ({ amqp }: Running): Promise<void> =>
  vi.waitFor(() => expect(amqp.health()).toEqual({ reachable: true, lastAnswerAtMs: expect.any(Number) }), {
    timeout: 120_000,
    interval: 20,
  });

/** Waits until it says what is wrong, and answers it. */
async function problemOf({ amqp }: Running): Promise<string> {
  const said = (): string => {
    const { reachable, problem = '' } = amqp.health();
    if (reachable || problem === 'not connected yet') throw new Error('it says nothing');
    return problem;
  };
  return await vi.waitFor(said, { timeout: 120_000, interval: 20 });
}

/** Somebody who accepts connections and does nothing but `greet`. */
async function listen(greet: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    // Who does not read does not notice the end either.
    socket.on('error', () => undefined).resume();
    greet(socket);
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : expect.unreachable('no port');
}

describeWithRabbitmq('RabbitMQ by AMQP', () => {
  let rabbitmq: Rabbitmq;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq({ tls: tls.server });
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);
  const at = (port = rabbitmq.port): string => `${rabbitmq.user}:${rabbitmq.password}@127.0.0.1:${port}`;

  it('is connected to, shown to its operator by name, and left with a goodbye', patience, async () => {
    const running = run({ transportUrl: text(`rabbit://${at()}/`) });
    await connected(running);
    expect(running.servers).toEqual([`RabbitMQ at 127.0.0.1:${rabbitmq.port}`]);
    const properties = await rabbitmq.evaluate(
      '[rabbit_networking:connection_info(C, [client_properties]) || C <- rabbit_networking:connections()]',
    );
    expect(properties).toContain('sidegate test');
    const before = rabbitmq.log().length;
    await running.stop();
    await vi.waitFor(async () => expect(await rabbitmq.evaluate('length(rabbit_networking:connections())')).toBe('0'), { timeout: 60_000 });
    await vi.waitFor(() => expect(rabbitmq.log().slice(before)).toContain('closing AMQP connection'), { timeout: 60_000 });
    // What a connection that was cut says in its log, for each sidecar that stops.
    expect(rabbitmq.log().slice(before)).not.toContain('unexpectedly');
  });

  it('of another vhost, whatever its name', patience, async () => {
    await rabbitmq.addVhost('/a b/ü%');
    await connected(run({ transportUrl: text(`rabbit://${at()}/${encodeURIComponent('/a b/ü%')}`) }));
  });

  it.each([
    [
      'the password is wrong',
      () => `rabbit://${rabbitmq.user}:secret-Kq9@127.0.0.1:${rabbitmq.port}/`,
      /refuses the user or the password \(403\)$/,
    ],
    ['the vhost is not there', () => `rabbit://${at()}/nowhere`, /has no such vhost, or the user may not enter it \(530\)$/],
    [
      'nobody listens',
      () => `rabbit://${rabbitmq.user}:secret-Kq9@127.0.0.1:9/`,
      /^RabbitMQ at 127.0.0.1:9 cannot be reached \(ECONNREFUSED\)$/,
    ],
    ['the host has no address', () => `rabbit://u:secret-Kq9@nowhere.invalid/`, /^RabbitMQ at nowhere.invalid:5672 cannot be reached \(E/],
    [
      'the URL cannot be read',
      () => 'rabbit://u:secret-Kq9/x@host/',
      /^the transport URL cannot be read: host 1 is no name and no address/,
    ],
    ['TLS is not spoken there', () => `rabbit://${at()}/?ssl=1`, /cannot be trusted, or does not speak TLS \(ERR_SSL_/],
    ['TLS is, and is not known here', () => `rabbit://${at(rabbitmq.tlsPort)}/`, /closed the connection|cannot be reached/],
  ])('says so where %s, without the password', patience, async (_, url, expected) => {
    const running = run({ transportUrl: text(url()) });
    const problem = await problemOf(running);
    expect(problem).toMatch(expected);
    expect(problem).not.toContain('secret-Kq9');
    expect(problem).not.toContain(rabbitmq.password);
    expect(running.servers).toEqual([]);
  });

  it('is connected to with what the file says by then', patience, async () => {
    let url = `rabbit://${rabbitmq.user}:old@127.0.0.1:${rabbitmq.port}/`;
    const file: TextFile = { read: async () => url };
    const running = run({ transportUrl: file });
    await problemOf(running);
    url = `rabbit://${at()}/`;
    await connected(running);
  });

  it('is not connected to while the file cannot be read, and then is', patience, async () => {
    let isThere = false;
    const file: TextFile = {
      read: async () => {
        if (!isThere) throw new Error('the file /etc/x cannot be read: there is none');
        return `rabbit://${at()}/`;
      },
    };
    const running = run({ transportUrl: file });
    expect(await problemOf(running)).toBe('the file /etc/x cannot be read: there is none');
    isThere = true;
    await connected(running);
  });

  describe('of several hosts', () => {
    it('is the one that is there, whichever of them is dead', patience, async () => {
      const held: Socket[] = [];
      const silent = await listen((socket) => held.push(socket));
      const rude = await listen((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
      const dead = 9;
      for (const ports of [
        [dead, rabbitmq.port],
        [rabbitmq.port, dead],
        [silent, rude, rabbitmq.port],
      ]) {
        const running = run({ transportUrl: text(`rabbit://${ports.map(at).join(',')}/`) });
        await connected(running);
        expect(running.servers).toEqual([`RabbitMQ at 127.0.0.1:${rabbitmq.port}`]);
        await running.stop();
      }
      // Whoever does not answer is left, too.
      expect(held.length).toBeGreaterThan(0);
      await vi.waitFor(() => expect(held.every((socket) => socket.destroyed)).toBe(true), { timeout: 60_000 });
    });

    it('one whose name is not resolved holds one lookup, and keeps nobody from the others', patience, async () => {
      const looked: string[] = [];
      const finish: (() => void)[] = [];
      const running = run(
        { transportUrl: text(`rabbit://${at().replace('127.0.0.1', 'lost.example')},u:p@lost.example:1/`) },
        holdOn,
        (host, _, done) => {
          looked.push(host);
          finish.push(() => done(null, '127.0.0.1', 4));
        },
      );
      expect(await problemOf(running)).toBe('RabbitMQ at lost.example:1 cannot be reached (EAI_AGAIN)');
      expect(looked).toEqual(['lost.example']);
      finish[0]?.();
      await vi.waitFor(() => expect(looked.length).toBeGreaterThan(1), { timeout: 60_000 });
      finish[1]?.();
      finish[2]?.();
    });

    it('each has its own credentials', patience, async () => {
      await rabbitmq.addUser('second', 'other', { configure: '', write: '', read: '' });
      const running = run({
        transportUrl: text(`rabbit://${rabbitmq.user}:wrong@127.0.0.1:${rabbitmq.port},second:other@localhost:${rabbitmq.port}/`),
      });
      await connected(running);
      expect(running.servers).toEqual([`RabbitMQ at localhost:${rabbitmq.port}`]);
    });

    it('the next is taken when the connection ends', patience, async () => {
      const running = run({ transportUrl: text(`rabbit://${at()},${at().replace('127.0.0.1', 'localhost')}/`) });
      await connected(running);
      await rabbitmq.closeConnections();
      await vi.waitFor(() => expect(running.servers).toHaveLength(2), { timeout: 60_000 });
      expect(running.servers[1]).toBe(`RabbitMQ at localhost:${rabbitmq.port}`);
    });
  });

  describe('over TLS', () => {
    const secured = (): string => `rabbit://${at(rabbitmq.tlsPort)}/`;

    it('is trusted by the CA and the name that are configured: what a tunnel listens on has another', patience, async () => {
      await connected(run({ transportUrl: text(secured()), tls: { ...inClear, caFile: text(tls.ca), serverName: name } }));
      await connected(run({ transportUrl: text(`${secured()}?ssl=1`), tls: { ...inClear, caFile: text(tls.ca), serverName: name } }));
    });

    it.each([
      ['its name is another', { caFile: text(tls.ca), serverName: 'rabbitmq.other.example' }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['it has the name of no address', { caFile: text(tls.ca) }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['its CA is another', { caFile: text(tlsPair.cert), serverName: name }, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
      ['its CA is none of the system’s', { serverName: name }, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
      ['the CA is none', { caFile: text('-----BEGIN NOTHING-----'), serverName: name }, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ])('is not trusted where %s: no password is sent', patience, async (_, trust, code) => {
      const running = run({ transportUrl: text(secured()), tls: { ...inClear, ...trust } });
      expect(await problemOf(running)).toMatch(new RegExp(`cannot be trusted, or does not speak TLS \\(${code}\\)$`));
      expect(running.servers).toEqual([]);
    });

    it('of a host that accepts connections and says nothing is given up: the next host is taken', patience, async () => {
      const held: Socket[] = [];
      const silent = await listen((socket) => held.push(socket));
      const running = run({
        transportUrl: text(`rabbit://${at(silent)},${at(rabbitmq.tlsPort)}/`),
        tls: { ...inClear, caFile: text(tls.ca), serverName: name },
      });
      await connected(running);
      await vi.waitFor(() => expect(held.map((socket) => socket.destroyed)).toEqual([true]), { timeout: 60_000 });
    });

    it('is asked for by the URL alone, and then the system’s CAs count', patience, async () => {
      expect(await problemOf(run({ transportUrl: text(`${secured()}?ssl=1`) }))).toContain('(UNABLE_TO_VERIFY_LEAF_SIGNATURE)');
    });

    it('is not left out because the URL says so, where it is configured', patience, async () => {
      const running = run({ transportUrl: text(`rabbit://${at()}/?ssl=0`), tls: { ...inClear, serverName: name } });
      expect(await problemOf(running)).toBe('the transport URL says ssl=0, and tls is configured: one of them is wrong');
    });

    it('shows who we are where the broker asks', patience, async () => {
      const strict = await startRabbitmq({ tls: { ...tls.server, clientCa: tls.ca } });
      try {
        const to = text(`rabbit://${at(strict.tlsPort)}/`);
        const trust = { caFile: text(tls.ca), serverName: name };
        await problemOf(run({ transportUrl: to, tls: { ...inClear, ...trust } }));
        await connected(run({ transportUrl: to, tls: { ...trust, certFile: text(tls.client.cert), keyFile: text(tls.client.key) } }));
      } finally {
        await Promise.all(runs.splice(0).map((running) => running.stop()));
        await strict.close();
      }
    });
  });

  describe('a session', () => {
    it('that fails is begun again over another connection, and what failed is said', patience, async () => {
      let count = 0;
      const running = run({ transportUrl: text(`rabbit://${at()}/`) }, async (link) => {
        count += 1;
        if (count === 1) throw new Error('not today');
        if (count === 2) return;
        await holdOn(link);
      });
      expect(await problemOf(running)).toBe('not today');
      await connected(running);
      expect(count).toBe(3);
    });

    it('that asks for what is refused is told so, and may go on asking', patience, async () => {
      const said: unknown[] = [];
      const running = run({ transportUrl: text(`rabbit://${at()}/`) }, async (link) => {
        for (const queue of ['none', 'amq.reserved']) {
          await link
            .ask((channel) => (queue === 'none' ? channel.checkQueue(queue) : channel.assertQueue(queue)))
            .catch((error) => said.push(error));
        }
        await holdOn(link);
      });
      await connected(running);
      expect(said).toMatchObject([{ replyCode: 404 }, { replyCode: 403 }]);
      expect(String(said[0])).toContain('knows no such exchange or queue (404)');
    });

    it('whose questions are not answered ends, and so does its connection', patience, async () => {
      const ended: unknown[] = [];
      const running = run({ transportUrl: text(`rabbit://${at()}/`) }, async (link) => {
        await holdOn(link).catch(() => undefined);
        ended.push(link.signal.reason);
      });
      await connected(running);
      await rabbitmq.freeze();
      try {
        await vi.waitFor(() => expect(ended).toHaveLength(1), { timeout: 120_000 });
      } finally {
        rabbitmq.thaw();
      }
      await connected(running);
      expect(String(ended[0])).toMatch(/has given no sign of life$/);
    });
  });
});
