// An HTTP listener: its address, its limits, and its end. What is served is the business of operations and the faces.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SidecarError } from '../core/errors.ts';
import type { Logger } from '../ports.ts';

/** Bounds towards whoever can reach the port, in milliseconds and bytes. */
export interface HttpLimits {
  /** Open at once; one more is closed without a word. */
  readonly connections: number;
  /** Of a request's line and headers together; beyond it: 431. */
  readonly headerBytes: number;
  /** For a request to come in whole; beyond it: 408. */
  readonly requestMs: number;
  /** How long a connection is kept open between two requests. */
  readonly idleMs: number;
  /** After the signal, for the requests that are under way; then they are cut. */
  readonly drainMs: number;
}

/** What is listened to, and by whom. */
export interface HttpListenerOptions {
  /** Of the listener, for messages: `operations`. */
  readonly name: string;
  /** `host:port`, with an IPv6 host in brackets; port 0: any free one. */
  readonly address: string;
  readonly limits: HttpLimits;
  /** Answers one request. Of the requests of one connection several may be under way; their answers go out in their order. */
  readonly serve: (request: IncomingMessage, response: ServerResponse) => void;
  readonly log: Logger;
}

/** A listener that listens. */
export interface HttpListener {
  /** The host it listens on. */
  readonly address: string;
  readonly port: number;
  /** Resolves when the signal has stopped it and every connection is gone. */
  readonly closed: Promise<void>;
}

/** How often connections that have become idle are looked for while it drains. */
const drainLookMs = 20;

/**
 * Listens until `signal` aborts; then nobody new is let in, each connection ends with the answer it waits for, and what is left
 * after `drainMs` is cut.
 * Throws INVALID_ARGUMENT / LISTEN_ADDRESS when the address cannot be read, FAILED_PRECONDITION / CANNOT_LISTEN when it is taken
 * or not ours, and the signal's reason when it has aborted.
 */
export async function startHttpListener(options: HttpListenerOptions, signal: AbortSignal): Promise<HttpListener> {
  signal.throwIfAborted();
  const { name, limits, serve, log } = options;
  const { host, port } = parseAddress(options);
  const server = createServer(
    {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.requestMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.idleMs,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      // On a connection that was open when the end came.
      if (signal.aborted) response.shouldKeepAlive = false;
      serve(request, response);
    },
  );
  server.maxConnections = limits.connections;
  await listen(server, name, { host, port });
  // Too few file handles to accept a connection, for instance: no reason to end the process.
  server.on('error', (error) => log.error({ error }, `the ${name} listener failed`));
  const bound = server.address() as AddressInfo;
  return { address: bound.address, port: bound.port, closed: closeBy(server, signal, limits.drainMs) };
}

/** For a request whose body is neither wanted nor read: where there is one, the connection ends with the answer. */
export function leaveBody(request: IncomingMessage, response: ServerResponse): void {
  const { headers } = request;
  if (headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0') return;
  response.shouldKeepAlive = false;
  response.once('finish', () => request.socket.destroySoon());
}

function parseAddress({ name, address }: HttpListenerOptions): { readonly host: string; readonly port: number } {
  const parts = /^(?:\[(?<six>[0-9a-fA-F:.]+)\]|(?<host>[^:[\]\s]+)):(?<port>\d{1,5})$/.exec(address)?.groups;
  const host = parts?.['six'] ?? parts?.['host'];
  const port = Number(parts?.['port']);
  if (host === undefined || port > 65_535) {
    throw new SidecarError('INVALID_ARGUMENT', `${name}: ${address} is not host:port`, { reason: 'LISTEN_ADDRESS' });
  }
  return { host, port };
}

async function listen(server: Server, name: string, { host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `${name}: cannot listen on ${host}:${port}: ${cause.message}`;
      reject(new SidecarError('FAILED_PRECONDITION', message, { reason: 'CANNOT_LISTEN', cause }));
    });
    server.listen({ host, port }, resolve);
  });
}

function closeBy(server: Server, signal: AbortSignal, drainMs: number): Promise<void> {
  return new Promise((resolve) => {
    const close = (): void => {
      const drain = setTimeout(() => server.closeAllConnections(), drainMs);
      // A connection whose request was under way becomes idle later, and would stay for as long as its client likes.
      const looking = setInterval(() => server.closeIdleConnections(), drainLookMs);
      server.close(() => {
        clearTimeout(drain);
        clearInterval(looking);
        resolve();
      });
      server.closeIdleConnections();
    };
    // It may have aborted while a name was looked up.
    if (signal.aborted) close();
    else signal.addEventListener('abort', close, { once: true });
  });
}
