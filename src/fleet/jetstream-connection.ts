// One connection to a NATS server that stands: what is asked over it has a deadline, and it ends once, for one reason.

import type { LookupFunction } from 'node:net';
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream';
import type { Authenticator, ConnectionOptions, NatsConnection } from '@nats-io/transport-node';
import { Late, within } from '../amqp/deadline.ts';
import type { SidecarError } from '../core/errors.ts';
import type { Clock } from '../ports.ts';
import { dialled } from './jetstream-dialling.ts';
import { natsErrorOf, noLog } from './jetstream-error.ts';

/** Text that lives in a file; read for every connection, so that what was replaced is used from the next one on. */
export interface TextFile {
  read(): Promise<string>;
}

/** Who we are, and whom we trust. */
export interface NatsIdentity {
  /** A `.creds` file: JWT and seed. The seed never leaves the process. */
  readonly credentials: TextFile | undefined;
  /** Where it is named, or the address begins with `tls:`, TLS is spoken, or nothing. */
  readonly tls:
    | {
        /** Undefined: the system's. */
        readonly caFile: TextFile | undefined;
        readonly certFile: TextFile | undefined;
        readonly keyFile: TextFile | undefined;
        /** The name that the certificate of every server must have; undefined: the host's. */
        readonly serverName: string | undefined;
      }
    | undefined;
  /** What the server's operator sees of us. */
  readonly connectionName: string;
}

/** For one server: its name, TCP, TLS and NATS together. */
const connectMs = 5_000;
/** For any one question. */
const questionMs = 5_000;
/** A server that hangs is noticed within the two of them, whatever is under way. */
const lifePauseMs = 3_000;
const lifeMs = 5_000;

/** A connection, made by `connectToNats`. */
export class JetstreamConnection {
  /** For people: `NATS at host:port`. */
  readonly server: string;
  /** Aborts with a SidecarError when it has ended. */
  readonly signal: AbortSignal;
  readonly nats: NatsConnection;
  readonly records: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly #clock: Clock;
  readonly #ended = new AbortController();

  constructor(parts: {
    readonly clock: Clock;
    readonly server: string;
    readonly nats: NatsConnection;
    readonly manager: JetStreamManager;
  }) {
    this.server = parts.server;
    this.nats = parts.nats;
    this.manager = parts.manager;
    this.records = parts.manager.jetstream();
    this.signal = this.#ended.signal;
    this.#clock = parts.clock;
    this.nats.closed().then((error) => this.fail(natsErrorOf(this.server, error)));
    this.#watch();
    this.#listen().catch((error: unknown) => this.fail(natsErrorOf(this.server, error)));
  }

  /** Ends it. */
  fail(error: SidecarError): void {
    if (this.signal.aborted) return;
    this.#ended.abort(error);
    // The library takes its listeners off the socket when it destroys it. Where the server has left already, and something is written before
    // we go, the error of that comes a moment later: with nobody to hear it, it would end the process. So what was written goes first.
    setImmediate(() => this.nats.close().catch((_error: unknown) => undefined));
  }

  leave(): void {
    this.fail(noLog(`${this.server} was left`));
  }

  /** What the server answers. Rejects with a SidecarError, whose cause is `Late` where it has not answered within `ms`. */
  async ask<Value>(question: Promise<Value>, ms: number = questionMs): Promise<Value> {
    try {
      return await within({ clock: this.#clock, ms }, this.signal, question);
    } catch (error) {
      throw this.signal.aborted ? this.signal.reason : natsErrorOf(this.server, error);
    }
  }

  /** The library would wait for a socket that takes nothing any more. */
  async #watch(): Promise<void> {
    try {
      for (;;) {
        await this.#clock.delay(lifePauseMs, this.signal);
        await within({ clock: this.#clock, ms: lifeMs }, this.signal, this.nats.flush());
      }
    } catch (error) {
      this.fail(error instanceof Late ? noLog(`${this.server} has given no sign of life`, error) : natsErrorOf(this.server, error));
    }
  }

  /** What the server says of itself: where it refuses something, nothing else would tell. */
  async #listen(): Promise<void> {
    for await (const status of this.nats.status()) {
      if (status.type === 'error') this.fail(natsErrorOf(this.server, status.error));
    }
  }
}

/** Connects to `url`: `nats://host:port` or `tls://host:port`. Rejects with a SidecarError, within some 5 s. */
export async function connectToNats(
  url: string,
  identity: NatsIdentity,
  { clock, lookup, signal }: { readonly clock: Clock; readonly lookup: LookupFunction; readonly signal: AbortSignal },
): Promise<JetstreamConnection> {
  const address = addressOf(url);
  const server = `NATS at ${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
  // Nothing of it is loaded where no such log is used.
  const [{ connect, credsAuthenticator }, { jetstreamManager }] = await Promise.all([
    import('@nats-io/transport-node'),
    import('@nats-io/jetstream'),
  ]);
  try {
    const [tls, credentials] = await Promise.all([tlsOf(identity, address), identity.credentials?.read()]);
    await within({ clock, ms: connectMs }, signal, resolvable(address.host, lookup));
    const options: ConnectionOptions = {
      servers: `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`,
      name: identity.connectionName,
      timeout: connectMs,
      // We come back ourselves, to whichever server is next, and know it.
      reconnect: false,
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
      ...(tls !== undefined && { tls }),
      ...(credentials !== undefined && { authenticator: authenticatorOf(credsAuthenticator, credentials) }),
    };
    const nats = await dialled(
      () => connect(options),
      (connecting) => within({ clock, ms: connectMs }, signal, connecting),
    );
    return new JetstreamConnection({
      clock,
      server,
      nats,
      manager: await jetstreamManager(nats, { checkAPI: false, timeout: questionMs }),
    });
  } catch (error) {
    throw signal.aborted ? noLog('it is not wanted any more') : natsErrorOf(server, error);
  }
}

/** Asked before the library asks, which has no limit of how many wait for a resolver that does not answer. */
function resolvable(host: string, lookup: LookupFunction): Promise<void> {
  return new Promise((resolve, reject) => lookup(host, {}, (error) => (error ? reject(error) : resolve())));
}

interface Address {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

function addressOf(text: string): Address {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.hostname === '' || !['nats:', 'tls:'].includes(url.protocol)) {
    throw noLog('an address of a NATS server is not of the form nats://host:port or tls://host:port');
  }
  if (url.username !== '' || url.password !== '') throw noLog('an address of a NATS server holds a user: credentials belong in a file');
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { host, port: url.port === '' ? 4222 : Number(url.port), isTls: url.protocol === 'tls:' };
}

/** Undefined: TLS only where the server wants it. */
async function tlsOf({ tls }: NatsIdentity, { host, isTls }: Address): Promise<NonNullable<ConnectionOptions['tls']> | undefined> {
  if (tls === undefined && !isTls) return undefined;
  const [ca, cert, key] = await Promise.all([tls?.caFile?.read(), tls?.certFile?.read(), tls?.keyFile?.read()]);
  return {
    // The library hands all of it to node. Without it an address would be held against the name `localhost`.
    host,
    minVersion: 'TLSv1.2',
    // Whatever the environment says.
    rejectUnauthorized: true,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(tls?.serverName !== undefined && { servername: tls.serverName }),
  };
}

function authenticatorOf(credsAuthenticator: (creds: Uint8Array) => Authenticator, credentials: string): Authenticator {
  const authenticator = credsAuthenticator(new TextEncoder().encode(credentials));
  try {
    authenticator('a nonce');
  } catch (error) {
    throw noLog('the credentials file is not as nsc writes it: a JWT and a seed', error);
  }
  return authenticator;
}
