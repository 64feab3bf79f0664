// The operations listener: metrics and health over HTTP, for Prometheus and the kubelet; nothing secret.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SidecarError } from '../core/errors.ts';
import type { Logger } from '../ports.ts';

/** What the listener serves. */
export interface OperationsOptions {
  /** `host:port`, with an IPv6 host in brackets; port 0: any free one. */
  readonly address: string;
  /** Prometheus' text format 0.0.4. */
  readonly metrics: () => Promise<string>;
  /** Whether the process is as it should be; false asks for a restart. */
  readonly live: () => boolean;
  /** Whether Validate answers as configured. Never follows lag. */
  readonly ready: () => boolean;
  readonly log: Logger;
}

/** A listener that listens. */
export interface Operations {
  /** The host it listens on. */
  readonly address: string;
  readonly port: number;
  /** Resolves when the signal has stopped it and every connection is gone. */
  readonly closed: Promise<void>;
}

/** Limits towards whoever can reach the port: scrapers are few, their requests small and quick. Milliseconds and bytes. */
export const operationsLimits = {
  connections: 64,
  headerBytes: 8_192,
  requestMs: 5_000,
  idleMs: 15_000,
  drainMs: 500,
} as const;

/**
 * Serves GET and HEAD of /metrics, /healthz and /readyz until `signal` aborts; then connections in use have half a second to end.
 * Other paths are 404, other methods 405; bodies are not read. Scrapes at the same time share one answer.
 * Throws INVALID_ARGUMENT / LISTEN_ADDRESS when the address cannot be read, FAILED_PRECONDITION / CANNOT_LISTEN when it is taken
 * or not ours, and the signal's reason when it has aborted.
 */
export async function startOperations(options: OperationsOptions, signal: AbortSignal): Promise<Operations> {
  signal.throwIfAborted();
  const { host, port } = parseAddress(options.address);
  const served = { answers: createAnswers(options), log: options.log };
  const server = createServer(
    {
      maxHeaderSize: operationsLimits.headerBytes,
      headersTimeout: operationsLimits.requestMs,
      requestTimeout: operationsLimits.requestMs,
      keepAliveTimeout: operationsLimits.idleMs,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => void serve(request, response, served),
  );
  server.maxConnections = operationsLimits.connections;
  await listen(server, { host, port });
  // Too few file handles to accept a connection, for instance: no reason to end the process.
  server.on('error', (error) => options.log.error({ error }, 'the operations listener failed'));
  const bound = server.address() as AddressInfo;
  return { address: bound.address, port: bound.port, closed: closeBy(server, signal) };
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const plain = (status: number, body: string): Answer => ({ status, type: 'text/plain; charset=utf-8', body });

function createAnswers({ metrics, live, ready }: OperationsOptions): ReadonlyMap<string, () => Promise<Answer>> {
  let scrape: Promise<Answer> | undefined;
  const scraped = async (): Promise<Answer> => {
    try {
      return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: await metrics() };
    } finally {
      scrape = undefined;
    }
  };
  return new Map([
    [
      '/metrics',
      () => {
        scrape ??= scraped();
        return scrape;
      },
    ],
    ['/healthz', async () => (live() ? plain(200, 'ok\n') : plain(503, 'not ok\n'))],
    ['/readyz', async () => (ready() ? plain(200, 'serving\n') : plain(503, 'not serving\n'))],
  ]);
}

async function answerTo(request: IncomingMessage, { answers, log }: Served): Promise<Answer> {
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const answer = answers.get(path);
  if (answer === undefined) return plain(404, 'not found\n');
  if (request.method !== 'GET' && request.method !== 'HEAD') return plain(405, 'method not allowed\n');
  try {
    return await answer();
  } catch (error) {
    // What fails here must neither end the process nor tell a stranger why.
    log.error({ path, error }, 'an operations request cannot be answered');
    return plain(500, 'no answer\n');
  }
}

interface Served {
  readonly answers: ReadonlyMap<string, () => Promise<Answer>>;
  readonly log: Logger;
}

async function serve(request: IncomingMessage, response: ServerResponse, served: Served): Promise<void> {
  const { status, type, body } = await answerTo(request, served);
  if (status === 405) response.setHeader('Allow', 'GET, HEAD');
  // A body is neither wanted nor read: its connection ends with the answer.
  if (request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0) {
    response.setHeader('Connection', 'close');
    response.once('finish', () => request.socket.destroySoon());
  }
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(body);
}

function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const parts = /^(?:\[(?<six>[0-9a-fA-F:.]+)\]|(?<host>[^:[\]\s]+)):(?<port>\d{1,5})$/.exec(address)?.groups;
  const host = parts?.['six'] ?? parts?.['host'];
  const port = Number(parts?.['port']);
  if (host === undefined || port > 65_535) {
    throw new SidecarError('INVALID_ARGUMENT', `operations: ${address} is not host:port`, { reason: 'LISTEN_ADDRESS' });
  }
  return { host, port };
}

async function listen(server: Server, { host, port }: { readonly host: string; readonly port: number }): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `operations: cannot listen on ${host}:${port}: ${cause.message}`;
      reject(new SidecarError('FAILED_PRECONDITION', message, { reason: 'CANNOT_LISTEN', cause }));
    });
    server.listen({ host, port }, resolve);
  });
}

function closeBy(server: Server, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const close = (): void => {
      const drain = setTimeout(() => server.closeAllConnections(), operationsLimits.drainMs);
      server.close(() => {
        clearTimeout(drain);
        resolve();
      });
      server.closeIdleConnections();
    };
    // It may have aborted while a name was looked up.
    if (signal.aborted) close();
    else signal.addEventListener('abort', close, { once: true });
  });
}
