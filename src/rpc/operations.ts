// The operations listener: metrics and health over HTTP, for Prometheus and the kubelet; nothing secret.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '../ports.ts';
import { type HttpLimits, type HttpListener, leaveBody, startHttpListener } from './http-listener.ts';

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
export type Operations = HttpListener;

/** Limits towards whoever can reach the port: scrapers are few, their requests small and quick. Milliseconds and bytes. */
export const operationsLimits: HttpLimits = {
  connections: 64,
  headerBytes: 8_192,
  requestMs: 5_000,
  idleMs: 15_000,
  drainMs: 500,
};

/**
 * Serves GET and HEAD of /metrics, /healthz and /readyz until `signal` aborts; then connections in use have half a second to end.
 * Other paths are 404, other methods 405; bodies are not read. Scrapes at the same time share one answer.
 * Throws as startHttpListener.
 */
export function startOperations(options: OperationsOptions, signal: AbortSignal): Promise<Operations> {
  const served = { answers: createAnswers(options), log: options.log };
  return startHttpListener(
    {
      name: 'operations',
      address: options.address,
      limits: operationsLimits,
      serve: (request, response) => void serve(request, response, served),
      log: options.log,
    },
    signal,
  );
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
  leaveBody(request, response);
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(body);
}
