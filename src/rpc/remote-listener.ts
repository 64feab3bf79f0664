// The listener for other hosts. TLS is ours and calls are the server library's: so a connection is known by its certificate before the
// first call, and may end with it.

import { constants } from 'node:crypto';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { type Server, ServerCredentials } from '@grpc/grpc-js';
import { SidecarError } from '../core/errors.ts';
import type { Clock, Logger } from '../ports.ts';
import { peerOf } from './peer.ts';

/** PEM: who we are, and who vouches for callers. */
export interface ListenPem {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string;
}

/** An address of this host for callers that show a certificate. */
export interface RemoteAddress {
  readonly kind: 'remote';
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** As it is now, and fit to be used. Throws SidecarError where it is not; what is in use stays then. */
  readonly read: () => Promise<ListenPem>;
}

/** What it needs. */
export interface RemoteParts {
  readonly clock: Clock;
  readonly log: Logger;
}

/** A listener for other hosts. */
export interface RemoteListener {
  readonly port: number;
  /** Nobody new is let in; connections end with their last call, at the most after `drainMs`. */
  drain(drainMs: number): void;
}

/** What a stranger may take up, and how soon what has changed is noticed. */
export interface RemoteLimits {
  /** For a handshake: a peer that has not finished by then holds up nobody else. */
  readonly handshakeMs: number;
  /** Connections at once, those in their handshake too; one more is closed. */
  readonly connections: number;
  /** Between two looks at the files, and at the ends of the certificates that have connections. */
  readonly lookMs: number;
  /** For the calls on connections that were opened under a CA that is not ours any more. */
  readonly graceMs: number;
}

/** Each watcher may have a connection of its own, four times as many as may watch where nothing else is configured. */
const usualLimits: RemoteLimits = { handshakeMs: 5000, connections: 4096, lookMs: 1000, graceMs: 5000 };
/** Refused handshakes are said in one line for so long: strangers may not write the log. */
const refusalsMs = 10_000;

/** Connections that one text of `clientCa` has let in. */
interface Generation {
  readonly accept: TcpServer;
  renew(pem: ListenPem): void;
  /** Lets nobody in any more; connections end with their last call, at the most after `graceMs`. */
  retire(graceMs: number): void;
  /** Of a retired one, whose connections are gone. */
  forget(): void;
}

/** Listens. Throws what `read` throws, and FAILED_PRECONDITION / CANNOT_LISTEN. */
export async function listenRemotely(
  server: Server,
  address: RemoteAddress,
  parts: RemoteParts,
  limits: RemoteLimits = usualLimits,
): Promise<RemoteListener> {
  const open = new Set<TLSSocket>();
  const refusals = new Refusals(parts);
  let pem = await address.read();
  let generation = createGeneration(server, pem, { open, refusals, limits });
  const accepting = createTcpServer((socket) => void generation.accept.emit('connection', socket));
  accepting.maxConnections = limits.connections;
  await listen(accepting, address);
  accepting.on('error', (error) => parts.log.error({ error }, 'the remote listener failed'));
  const stop = new AbortController();
  let complaint = '';

  const renew = async (): Promise<void> => {
    try {
      const now = await address.read();
      complaint = '';
      if (stop.signal.aborted) return;
      if (now.cert === pem.cert && now.key === pem.key && now.clientCa === pem.clientCa) return;
      if (now.clientCa === pem.clientCa) generation.renew(now);
      else {
        // Whoever the new CA does not vouch for is gone with the connection that the old one has let in.
        const retired = generation;
        generation = createGeneration(server, now, { open, refusals, limits });
        retired.retire(limits.graceMs);
        parts.clock.delay(2 * limits.graceMs, stop.signal).then(retired.forget, () => undefined);
      }
      pem = now;
      parts.log.info({ address: formatted(address) }, 'the remote listener uses new certificates');
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message !== complaint) parts.log.warn({ error }, 'the remote listener keeps its certificates: the new ones cannot be used');
      complaint = message;
    }
  };
  const look = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await parts.clock.delay(limits.lookMs, stop.signal).catch(() => undefined);
      if (stop.signal.aborted) return;
      await renew();
      refusals.say();
      const nowMs = parts.clock.nowMs();
      for (const socket of open) if ((peerOf(socket.getPeerCertificate())?.validUntilMs ?? 0) <= nowMs) socket.destroy();
    }
  };
  void look().catch((error: unknown) => parts.log.error({ error }, 'the remote listener looks at its certificates no more'));

  return {
    port: (accepting.address() as AddressInfo).port,
    drain: (drainMs) => {
      stop.abort();
      accepting.close();
      generation.retire(drainMs);
    },
  };
}

function createGeneration(
  server: Server,
  first: ListenPem,
  { open, refusals, limits }: { readonly open: Set<TLSSocket>; readonly refusals: Refusals; readonly limits: RemoteLimits },
): Generation {
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const accept = createTlsServer({
    ...contextOf(first),
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: ['h2'],
    handshakeTimeout: limits.handshakeMs,
  });
  let isRetired = false;
  accept.on('secureConnection', (socket) => {
    // Without it the end of a connection would be the end of the process.
    socket.on('error', () => undefined);
    const certificate = socket.getPeerCertificate();
    // Its handshake may have begun before, and what speaks another protocol is nobody's business.
    if (isRetired || !socket.authorized || socket.alpnProtocol !== 'h2') {
      socket.destroy();
      return;
    }
    // Read once: the library asks for it at each call, and what is known of a peer is kept by this object.
    socket.getPeerCertificate = (() => certificate) as TLSSocket['getPeerCertificate'];
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    injector.injectConnection(socket);
  });
  accept.on('tlsClientError', (error, socket) => {
    // Node tells that a handshake takes too long, and leaves it at that.
    socket.destroy();
    refusals.add(error, socket);
  });
  return {
    accept,
    renew: (pem) => accept.setSecureContext(contextOf(pem)),
    retire: (ms) => {
      isRetired = true;
      injector.drain(ms);
    },
    forget: () => injector.destroy(),
  };
}

function contextOf({ cert, key, clientCa }: ListenPem): TlsOptions {
  return {
    cert,
    key,
    ca: clientCa,
    minVersion: 'TLSv1.2',
    // A session that is taken up again is not verified again: each connection shows its certificate anew.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

function listen(server: TcpServer, address: RemoteAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `cannot listen on ${formatted(address)}: ${cause.message}`;
      reject(new SidecarError('FAILED_PRECONDITION', message, { reason: 'CANNOT_LISTEN', cause }));
    });
    server.listen({ host: address.host, port: address.port }, resolve);
  });
}

function formatted({ host, port }: RemoteAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Counts connections that were refused before they were open, and says now and then how many and why the last one was. */
class Refusals {
  readonly #parts: RemoteParts;
  #count = 0;
  #last = '';
  #saidAtMs = -refusalsMs;

  constructor(parts: RemoteParts) {
    this.#parts = parts;
  }

  add(error: Error, { authorizationError }: TLSSocket): void {
    this.#count += 1;
    const code = 'code' in error ? String(error.code) : error.name;
    // Node's own reason where it has verified, such as CERT_HAS_EXPIRED; the error itself says only that the connection is closed then.
    this.#last = authorizationError ? String(authorizationError) : code;
    this.say();
  }

  say(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    if (this.#count === 0 || nowMs - this.#saidAtMs < refusalsMs) return;
    this.#parts.log.warn({ refused: this.#count, last: this.#last }, 'the remote listener has refused connections');
    this.#count = 0;
    this.#saidAtMs = nowMs;
  }
}
