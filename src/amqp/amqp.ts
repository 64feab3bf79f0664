// RabbitMQ for as long as it is wanted: one connection after the other, to one server after the other. Knows nothing of Keystone.

import { lookup as systemLookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { type ChannelModel, connect, type Options, type SocketOptions } from 'amqplib';
import { backoff } from '../core/backoff.ts';
import type { Clock, DependencyHealth } from '../ports.ts';
import { AmqpError, amqpErrorOf } from './amqp-error.ts';
import { AmqpLink } from './amqp-link.ts';
import { within } from './deadline.ts';
import { type Broker, parseTransportUrl, type TransportUrl } from './transport-url.ts';

/** Text that lives in a file; read for every connection, so that what was replaced is used from the next one on. */
export interface TextFile {
  read(): Promise<string>;
}

/** Where RabbitMQ is, and who we are there. */
export interface AmqpOptions {
  /** As `parseTransportUrl` reads it. */
  readonly transportUrl: TextFile;
  /** Where anything is named here, or the URL says so, TLS is spoken. */
  readonly tls: {
    /** Undefined: the system's. */
    readonly caFile: TextFile | undefined;
    readonly certFile: TextFile | undefined;
    readonly keyFile: TextFile | undefined;
    /** The name that the certificate of every host must have; undefined: the host's. */
    readonly serverName: string | undefined;
  };
  /** What the broker's operator sees of us. */
  readonly connectionName: string;
}

/** What it needs of the world. */
export interface AmqpDeps {
  readonly clock: Clock;
  /** From 0 to below 1: which host is first, and how long is waited. */
  readonly random?: () => number;
  /** Its health is another now. */
  readonly changed?: () => void;
  /** How names of hosts are resolved; absent: the system's way. */
  readonly resolve?: LookupFunction;
}

/** RabbitMQ, held on to. */
export interface Amqp {
  /**
   * Gives every connection that stands to `session`, one at a time, until `signal` aborts; resolves then. Where the connection ends, or
   * the session does, it tries the next host, after a while. Never throws.
   */
  run(session: (link: AmqpLink) => Promise<void>, signal: AbortSignal): Promise<void>;
  /** Reachable: the connection that stands is of use to its session. */
  health(): DependencyHealth;
}

/** For one host: its name, TCP, TLS and AMQP together. */
const connectMs = 5_000;
const heartbeatSeconds = 5;
const keepAliveMs = 30_000;
/** What RabbitMQ allows, too. A longer frame is not from it. */
const longestFrameBytes = 131_072;
/** Short, as nothing is heard meanwhile; a thousand sidecars that come back within it are a hundred connections a second. */
const pauses = { firstMs: 500, longestMs: 10_000 } as const;

/** Connects to nothing before `run`. */
export function createAmqp(options: AmqpOptions, deps: AmqpDeps): Amqp {
  const { clock, random = Math.random, changed = () => undefined } = deps;
  const lookup = oneAtATime(deps.resolve ?? systemLookup);
  let standing: AmqpLink | undefined;
  let isOfUse = false;
  let problem: string | undefined = 'not connected yet';
  let lastAnswerAtMs: number | undefined;
  /** Which host is next, whatever their number is by then. */
  let turn = Math.floor(random() * 0x10000);
  let failures = 0;

  const works = (): void => {
    isOfUse = true;
    problem = undefined;
    failures = 0;
    lastAnswerAtMs = clock.nowMs();
    changed();
  };

  async function once(session: (link: AmqpLink) => Promise<void>, signal: AbortSignal): Promise<void> {
    const link = await connectSomewhere(signal);
    const leave = (): void => void link.close();
    signal.addEventListener('abort', leave, { once: true });
    try {
      if (signal.aborted) return;
      standing = link;
      await session(link);
      link.signal.throwIfAborted();
    } catch (error) {
      // Whatever failed because the connection had ended says less than why it had.
      throw link.signal.aborted ? link.signal.reason : error;
    } finally {
      standing = undefined;
      signal.removeEventListener('abort', leave);
      await link.close();
    }
  }

  async function connectSomewhere(signal: AbortSignal): Promise<AmqpLink> {
    const url = parseTransportUrl(await options.transportUrl.read());
    if (url.kind === 'problem') throw new AmqpError(`the transport URL cannot be read: ${url.problem}`);
    const secured = await tlsOf(options, url);
    for (let left = url.brokers.length; ; left -= 1) {
      const broker = url.brokers[turn % url.brokers.length] ?? url.brokers[0];
      turn += 1;
      try {
        return await connectTo(broker, { vhost: url.vhost, secured, signal });
      } catch (error) {
        if (left <= 1 || signal.aborted) throw error;
      }
    }
  }

  async function connectTo(broker: Broker, way: Way): Promise<AmqpLink> {
    const { vhost, secured, signal, purpose } = way;
    const { host, port, username, password } = broker;
    const server = `RabbitMQ at ${host.includes(':') ? `[${host}]` : host}:${port}`;
    const ended = new AbortController();
    const target: Options.Connect = {
      protocol: secured === undefined ? 'amqp' : 'amqps',
      hostname: host,
      port,
      username,
      password,
      // amqplib decodes it.
      vhost: encodeURIComponent(vhost),
      heartbeat: heartbeatSeconds,
      frameMax: longestFrameBytes,
      maxFrameSize: longestFrameBytes,
    };
    const socket: SocketOptions & { readonly signal: AbortSignal } = {
      ...secured,
      lookup,
      noDelay: true,
      keepAlive: true,
      keepAliveDelay: keepAliveMs,
      clientProperties: { connection_name: [options.connectionName, purpose].filter(Boolean).join(' ') },
      // The only way to the socket before amqplib gives it away, and to one that answers nothing any more.
      signal: ended.signal,
    };
    // Made where the connection opens: what the broker says next must find somebody who listens.
    const another = (what: string): Promise<AmqpLink> =>
      connectTo(broker, { ...way, purpose: what, signal: AbortSignal.any([signal, ended.signal]) });
    const opening = connect(target, socket).then(
      (model: ChannelModel) => new AmqpLink({ clock, server, model, ended, works, blocked: changed, another }),
    );
    try {
      return await within({ clock, ms: connectMs }, signal, opening);
    } catch (cause) {
      const error = signal.aborted ? new AmqpError('it is not wanted any more') : amqpErrorOf(server, cause);
      ended.abort(error);
      throw error;
    }
  }

  return {
    async run(session, signal) {
      while (!signal.aborted) {
        try {
          await once(session, signal);
        } catch (error) {
          problem = error instanceof Error ? error.message : 'unknown';
        }
        isOfUse = false;
        failures += 1;
        changed();
        // Rejects at the end, which the loop sees.
        await clock.delay(backoff(pauses, failures, random), signal).catch(() => undefined);
      }
    },
    health() {
      const isBlocked = standing?.isBlocked ?? false;
      const said = isBlocked ? 'RabbitMQ has blocked who publishes: it is short of memory or disk' : problem;
      return {
        reachable: isOfUse && !isBlocked,
        ...(said !== undefined && { problem: said }),
        ...(lastAnswerAtMs !== undefined && { lastAnswerAtMs }),
      };
    },
  };
}

interface Way {
  readonly vhost: string;
  readonly secured: SocketOptions | undefined;
  readonly signal: AbortSignal;
  /** What the broker's operator sees beside our name. */
  readonly purpose?: string;
}

/** Undefined: in clear. Throws where the URL forbids what the configuration wants: a password in clear is worse than no news. */
async function tlsOf({ tls }: AmqpOptions, url: TransportUrl & { readonly kind: 'url' }): Promise<SocketOptions | undefined> {
  const { caFile, certFile, keyFile, serverName } = tls;
  const isWanted = [caFile, certFile, keyFile, serverName].some((part) => part !== undefined);
  if (url.tls === false && isWanted) throw new AmqpError('the transport URL says ssl=0, and tls is configured: one of them is wrong');
  if (url.tls !== true && !isWanted) return undefined;
  const [ca, cert, key] = await Promise.all([caFile?.read(), certFile?.read(), keyFile?.read()]);
  return {
    minVersion: 'TLSv1.2',
    // Whatever the environment says.
    rejectUnauthorized: true,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(serverName !== undefined && { servername: serverName }),
  };
}

/**
 * A lookup cannot be ended, and holds one of node's few threads until the resolver gives up: those that nobody waits for any more would
 * leave none for the journal.
 */
export function oneAtATime(resolve: LookupFunction): LookupFunction {
  let isLooking = false;
  return (host, options, done) => {
    if (isLooking) {
      // As whoever looks later is told while the resolver does not answer.
      done(Object.assign(new Error('a name is still being resolved'), { code: 'EAI_AGAIN' }), '');
      return;
    }
    isLooking = true;
    resolve(host, options, (...found) => {
      isLooking = false;
      done(...found);
    });
  };
}
