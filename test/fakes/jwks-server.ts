// An issuer's metadata and key set over real HTTP, on a port of its own, which does as a test says.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { JWK } from 'jose';

/** How every request is answered from now on. */
export type JwksBehaviour =
  | { readonly kind: 'good' }
  /** Takes the request and says nothing. */
  | { readonly kind: 'hang' }
  /** Sends the head and half of a body, then nothing. */
  | { readonly kind: 'stall' }
  /** Cuts the connection without an answer. */
  | { readonly kind: 'cut' }
  | { readonly kind: 'answer'; readonly status: number; readonly body: string; readonly headers?: Readonly<Record<string, string>> }
  /** 200 and JSON without an end. */
  | { readonly kind: 'huge' };

/** A scriptable issuer. */
export interface JwksServer {
  /** Its `iss`: where it listens, then the path given at the start. */
  readonly issuer: string;
  readonly jwksUrl: string;
  /** The keys that it shows from now on, as they are written into the set. */
  setKeys(keys: readonly unknown[]): void;
  behave(behaviour: JwksBehaviour): void;
  /** What its metadata say; a part set to undefined is left out. `undefined`: there are none there (404). */
  setMetadata(where: 'openid-configuration' | 'oauth-authorization-server', metadata: object | undefined): void;
  /** Requests so far whose path ends so; all of them without one. */
  count(pathEnd?: string): number;
  /** Resolves when `count(pathEnd)` has reached `total`. */
  reached(total: number, pathEnd?: string): Promise<void>;
  /** Stops listening and drops every connection: refused from now on. */
  down(): Promise<void>;
  /** Listens again on the same port. */
  up(): Promise<void>;
  close(): Promise<void>;
}

/** Starts one that shows `keys`. `path` goes behind the origin into its `iss`. `tls`: PEM. */
export async function startJwksServer(
  keys: readonly JWK[] = [],
  options: { readonly path?: string; readonly tls?: { readonly key: string; readonly cert: string } } = {},
): Promise<JwksServer> {
  let shown: readonly unknown[] = keys;
  let behaviour: JwksBehaviour = { kind: 'good' };
  const metadata = new Map<string, object>();
  const paths: string[] = [];
  const waiters = new Set<() => void>();
  const sockets = new Set<Socket>();

  const handle = (incoming: IncomingMessage, response: ServerResponse): void => {
    const path = incoming.url ?? '';
    paths.push(path);
    for (const look of [...waiters]) look();
    answer(behaviour, response, () => {
      if (path.endsWith('/jwks')) return { keys: shown };
      return metadata.get(path);
    });
  };
  const server: Server = options.tls ? createTlsServer(options.tls, handle) : createServer(handle);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });

  const listen = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      if (!server.listening) return resolve();
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });

  await listen(0);
  const { port } = server.address() as AddressInfo;
  const origin = `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}`;
  const pathOfIssuer = options.path ?? '';
  const issuer = `${origin}${pathOfIssuer}`;
  const jwksUrl = `${origin}/jwks`;
  const pathsOfMetadata = {
    'openid-configuration': `${pathOfIssuer.replace(/\/$/, '')}/.well-known/openid-configuration`,
    'oauth-authorization-server': `/.well-known/oauth-authorization-server${pathOfIssuer.replace(/\/$/, '')}`,
  };
  metadata.set(pathsOfMetadata['openid-configuration'], { issuer, jwks_uri: jwksUrl });
  const count = (pathEnd = ''): number => paths.filter((path) => path.endsWith(pathEnd)).length;

  return {
    issuer,
    jwksUrl,
    setKeys(next) {
      shown = next;
    },
    behave(next) {
      behaviour = next;
    },
    setMetadata(where, next) {
      if (next === undefined) metadata.delete(pathsOfMetadata[where]);
      else metadata.set(pathsOfMetadata[where], next);
    },
    count,
    reached: (total, pathEnd) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (count(pathEnd) < total) return;
          waiters.delete(look);
          resolve();
        };
        waiters.add(look);
        look();
      }),
    down: stop,
    up: () => listen(port),
    close: stop,
  };
}

function answer(behaviour: JwksBehaviour, response: ServerResponse, document: () => object | undefined): void {
  switch (behaviour.kind) {
    case 'good': {
      const body = document();
      response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body ?? {}));
      return;
    }
    case 'hang':
      return;
    case 'stall':
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"keys":[');
      return;
    case 'cut':
      response.destroy();
      return;
    case 'answer':
      response.writeHead(behaviour.status, behaviour.headers ?? { 'content-type': 'text/html' });
      response.end(behaviour.body);
      return;
    case 'huge':
      response.writeHead(200, { 'content-type': 'application/json' });
      pour(response);
      return;
  }
}

/** Writes as long as somebody reads. */
function pour(response: ServerResponse): void {
  const chunk = ' '.repeat(65_536);
  const more = (): void => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on('drain', more);
  more();
}
