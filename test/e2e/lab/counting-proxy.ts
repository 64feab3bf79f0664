// A reverse proxy between what is tested and a real server: counts requests by method and path, and misbehaves on demand.
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What the proxy does to a request instead of passing it on. `delay` passes it on, later; `hang` never answers; `cut` breaks the
 * connection; `truncate` passes it on and breaks the connection in the middle of the answer's body.
 */
export type Fault =
  | { readonly kind: 'answer'; readonly status: number; readonly contentType: string; readonly body: string; readonly location?: string }
  | { readonly kind: 'truncate' }
  | { readonly kind: 'delay'; readonly delayMs: number }
  | { readonly kind: 'hang' }
  | { readonly kind: 'cut' };

/** A request as the proxy saw it; `path` is without the query, which is '' where there is none. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** By lower-case name. */
  readonly headers: IncomingHttpHeaders;
}

/** The running proxy. */
export interface CountingProxy {
  /** Where it listens; the path of the target stays as it is. */
  readonly origin: string;
  /** The number of requests seen since the last `forget`, whatever became of them; `path` must be equal. */
  count(method: string, path: string): number;
  /** Sets the counts to zero. */
  forget(): void;
  /** From now on each request is asked for its fault; undefined passes it on. Requests on the way are not touched. */
  misbehave(fault: (seen: SeenRequest) => Fault | undefined): void;
  /** Ends every fault; requests that hang are cut. */
  behave(): void;
  /** Cuts everything and stops listening. */
  close(): Promise<void>;
}

// Tokens of 20 kB, twice in one request, are no fault.
const maxHeaderSize = 131_072;

/** Starts a proxy in front of `target` (an origin such as http://127.0.0.1:5000). */
export async function startCountingProxy(target: string): Promise<CountingProxy> {
  const counts = new Map<string, number>();
  const hanging = new Set<ServerResponse>();
  const timers = new Set<NodeJS.Timeout>();
  let faultOf: (seen: SeenRequest) => Fault | undefined = () => undefined;

  const server = createServer({ maxHeaderSize }, (incoming, outgoing) => {
    const [path = '', query = ''] = (incoming.url ?? '').split('?', 2);
    const seen = { method: incoming.method ?? '', path, query, headers: incoming.headers };
    const key = `${seen.method} ${seen.path}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    const fault = faultOf(seen);
    switch (fault?.kind) {
      case undefined:
        return pass(target, incoming, outgoing);
      case 'answer':
        return outgoing
          .writeHead(fault.status, { 'content-type': fault.contentType, ...(fault.location !== undefined && { location: fault.location }) })
          .end(fault.body);
      case 'truncate':
        return pass(target, incoming, outgoing, 'half');
      case 'delay': {
        const timer = setTimeout(() => {
          timers.delete(timer);
          pass(target, incoming, outgoing);
        }, fault.delayMs);
        return timers.add(timer);
      }
      case 'hang':
        outgoing.on('close', () => hanging.delete(outgoing));
        return hanging.add(outgoing);
      case 'cut':
        return outgoing.destroy();
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));

  const behave = () => {
    faultOf = () => undefined;
    for (const response of hanging) response.destroy();
  };
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    count: (method, path) => counts.get(`${method} ${path}`) ?? 0,
    forget: () => counts.clear(),
    misbehave: (fault) => {
      faultOf = fault;
    },
    behave,
    close: async () => {
      behave();
      for (const timer of timers) clearTimeout(timer);
      server.closeAllConnections();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}

function pass(target: string, incoming: IncomingMessage, outgoing: ServerResponse, part: 'whole' | 'half' = 'whole'): void {
  const options = { method: incoming.method, headers: incoming.headers, agent: false, maxHeaderSize };
  const onward = request(`${target}${incoming.url}`, options, (answer) => {
    // `connection` concerns one hop only: the real server closes, we keep alive.
    const { connection: _, ...headers } = answer.headers;
    outgoing.writeHead(answer.statusCode ?? 502, headers);
    answer.on('error', () => outgoing.destroy());
    if (part === 'whole') answer.pipe(outgoing);
    else answer.once('data', (chunk: Buffer) => outgoing.write(chunk.subarray(0, chunk.length >> 1), () => outgoing.destroy()));
  });
  // The server is away or broke off: the client sees a broken connection, as it would without us.
  onward.on('error', () => outgoing.destroy());
  outgoing.on('close', () => onward.destroy());
  incoming.pipe(onward);
}
