// An HTTP server on 127.0.0.1 that answers as a test scripts it: well, badly, half, or not at all.

import { createServer, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

/** What came. */
export interface ReceivedRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What goes back. An object as `body` is sent as JSON. */
export type ScriptedAnswer =
  | {
      readonly kind?: 'reply';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string | Buffer | object;
    }
  /** Nothing, for as long as the other side waits. */
  | { readonly kind: 'hang' }
  /** The connection ends without a reply. */
  | { readonly kind: 'cut' }
  /** Headers that promise all of `body`, half of it, and the end of the connection. */
  | { readonly kind: 'half'; readonly status: number; readonly body: string }
  /** Headers and half of `body`, then nothing. */
  | { readonly kind: 'stall'; readonly status: number; readonly body: string }
  /** A body without end. */
  | { readonly kind: 'endless'; readonly status: number }
  /** These bytes instead of a reply. */
  | { readonly kind: 'bytes'; readonly bytes: string };

/** Answers one request. */
export type Script = (request: ReceivedRequest) => ScriptedAnswer | Promise<ScriptedAnswer>;

/** The server. */
export interface HttpAuthority {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  readonly url: string;
  /** Everything received, oldest first. */
  readonly requests: readonly ReceivedRequest[];
  /** From now on answers come from this. */
  script(next: Script): void;
  /** Refuses connections and ends those there are. */
  stop(): Promise<void>;
  /** Listens again, on the same port. */
  resume(): Promise<void>;
  /** Resolves when `count` requests in all have been received. */
  received(count: number): Promise<void>;
  /** Connections that are open now. */
  connectionCount(): number;
  close(): Promise<void>;
}

/** Tokens of 20 kB, twice in one request, are no fault: node's own limit is 16 kB for all headers. */
const maxHeaderSize = 131_072;

/** Starts one; until `script` is called it answers 500. With `tls` it speaks https. */
export async function createHttpAuthority(tls?: { readonly key: string; readonly cert: string }): Promise<HttpAuthority> {
  const requests: ReceivedRequest[] = [];
  const sockets = new Set<Socket>();
  const waiters = new Set<() => void>();
  let current: Script = () => ({ status: 500 });

  const listener: Parameters<typeof createServer>[1] = async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const request: ReceivedRequest = {
      method: incoming.method ?? '',
      path: incoming.url ?? '',
      headers: Object.fromEntries(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)])),
      body: Buffer.concat(chunks).toString(),
    };
    requests.push(request);
    for (const look of waiters) look();
    send(await current(request), outgoing);
  };
  const server: Server =
    tls === undefined ? createServer({ maxHeaderSize }, listener) : createTlsServer({ ...tls, maxHeaderSize }, listener);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A connection cut by the other side is what several tests are about.
    socket.on('error', () => sockets.delete(socket));
  });

  const listen = (port: number): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  await listen(0);
  const { port } = server.address() as AddressInfo;

  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests,
    script(next) {
      current = next;
    },
    stop,
    resume: () => listen(port),
    received: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (requests.length < count) return;
          waiters.delete(look);
          resolve();
        };
        waiters.add(look);
        look();
      }),
    connectionCount: () => sockets.size,
    close: () => (server.listening ? stop() : Promise.resolve()),
  };
}

function send(answer: ScriptedAnswer, outgoing: ServerResponse): void {
  switch (answer.kind) {
    case 'hang':
      return;
    case 'cut':
      outgoing.socket?.destroy();
      return;
    case 'half':
    case 'stall':
      outgoing.writeHead(answer.status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(answer.body) });
      outgoing.write(answer.body.slice(0, Math.floor(answer.body.length / 2)), () => {
        if (answer.kind === 'half') outgoing.socket?.destroy();
      });
      return;
    case 'endless':
      outgoing.writeHead(answer.status, { 'content-type': 'application/json' });
      pour(outgoing);
      return;
    case 'bytes':
      outgoing.socket?.end(answer.bytes);
      return;
    default: {
      const isText = answer.body === undefined || typeof answer.body === 'string' || Buffer.isBuffer(answer.body);
      outgoing.writeHead(answer.status, { ...(!isText && { 'content-type': 'application/json' }), ...answer.headers });
      outgoing.end(isText ? answer.body : JSON.stringify(answer.body));
    }
  }
}

// Until the other side has enough.
function pour(outgoing: ServerResponse): void {
  while (!outgoing.destroyed && outgoing.write(' '.repeat(16_384)));
  if (!outgoing.destroyed) outgoing.once('drain', () => pour(outgoing));
}
