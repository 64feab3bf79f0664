// One server of the tier as memjs wants it, with what memjs's own lacks: a deadline, a breaker, and a new connection after any fault.

import type { Response, ServerLike } from 'memjs';
import type { Clock, DependencyHealth, Telemetry } from '../ports.ts';
import { type BreakerLimits, createBreaker } from './breaker.ts';
import { Connection, type ConnectionLimits, type Request } from './connection.ts';
import { createDial, type Dial, type ServerAddress, type TlsOptions } from './dial.ts';

/** How the servers are reached and when one is given up. */
export interface ServerOptions {
  readonly tls: TlsOptions | undefined;
  readonly breaker: BreakerLimits;
  readonly limits: ConnectionLimits;
}

/** What a server needs of the world. */
export interface ServerDeps {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Another way to begin a connection, for tests. */
  readonly dial?: Dial;
}

/** A server, and how it is. */
export interface Server extends ServerLike {
  /** `host:port`, an IPv6 address in brackets. */
  readonly name: string;
  /** Reachable until it was given up, and again from its next good answer on. */
  health(): DependencyHealth;
  /** Whether an answer to this number may yet come. */
  owes(opaque: number): boolean;
}

/** As configured, and as it is named in metrics and lines. */
export function nameOf({ host, port }: ServerAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** By opcode of the binary protocol. */
const operations = new Map<number, string>([
  [0x00, 'get'],
  [0x01, 'set'],
  [0x02, 'add'],
  [0x04, 'remove'],
]);

/** Statuses of a server that does what it should: done, not there, there already, too large, not stored, no room. */
const ordinary: ReadonlySet<number> = new Set([0x00, 0x01, 0x02, 0x03, 0x05, 0x82]);

/** A server that has not been asked anything: the first request begins the first connection. */
export function createServer(address: ServerAddress, options: ServerOptions, deps: ServerDeps): Server {
  const { clock, telemetry } = deps;
  const name = nameOf(address);
  const breaker = createBreaker(options.breaker);
  const dial = deps.dial ?? createDial(address, options.tls);
  const durations = new Map(
    [...operations].map(([opcode, operation]) => [
      opcode,
      telemetry.histogram('sidegate_shared_duration_seconds', { server: name, operation }),
    ]),
  );
  let connection: Connection | undefined;
  let closed = false;
  let problem: string | undefined;
  let lastAnswerAtMs: number | undefined;
  let announced: Pick<Request, 'opaque' | 'respond' | 'fail'> | undefined;

  telemetry.gauge('sidegate_shared_server_up', { server: name }, () => (breaker.isOpen() ? 0 : 1));

  function failed(why: string): void {
    problem = why;
    if (!breaker.failed(clock.monotonicMs())) return;
    telemetry.log.warn({ server: name, problem: why }, 'a server of the shared tier is out: what it keeps is missing');
  }

  function answered({ header }: Response): void {
    if (!ordinary.has(header.status)) {
      failed(`it answers with status ${header.status}`);
      return;
    }
    lastAnswerAtMs = clock.nowMs();
    if (breaker.succeeded()) telemetry.log.info({ server: name }, 'a server of the shared tier answers again');
  }

  function connect(): Connection {
    const made = new Connection(dial(), {
      limits: options.limits,
      clock,
      events: {
        answered,
        expired: () => breaker.undecided(clock.monotonicMs()),
        over(why, atRest) {
          if (connection === made) connection = undefined;
          // A fault is counted once, however many requests it took with it; a connection that was closed unused is none.
          if (!atRest) failed(why);
        },
      },
    });
    return made;
  }

  /** Why the request cannot even be sent. The breaker is asked last: who is its probe must be sent. */
  function refusal(size: number): string | undefined {
    if (closed) return 'the tier is closed';
    const refused = connection?.refusal(size);
    if (refused !== undefined) return refused;
    return breaker.admits(clock.monotonicMs()) ? undefined : `${name} is out`;
  }

  return {
    name,
    host: address.host,
    port: address.port,
    onResponse(opaque, respond) {
      announced = { opaque, respond, fail: () => undefined };
    },
    onError(opaque, fail) {
      announced = { opaque, respond: announced?.respond ?? (() => undefined), fail };
    },
    write(bytes) {
      if (announced === undefined) throw new TypeError('a request without handlers');
      const { opaque, respond, fail } = announced;
      announced = undefined;
      const refused = refusal(bytes.length);
      if (refused !== undefined) {
        fail(new Error(refused));
        return;
      }
      const opcode = bytes.readUInt8(1);
      const startedAtMs = clock.monotonicMs();
      const observed = (): void => durations.get(opcode)?.observe((clock.monotonicMs() - startedAtMs) / 1000);
      connection ??= connect();
      connection.send({
        opaque,
        opcode,
        bytes,
        respond(response) {
          observed();
          respond(response);
        },
        fail(error) {
          observed();
          fail(error);
        },
      });
    },
    owes: (opaque) => connection?.owes(opaque) ?? false,
    health: () => ({
      reachable: !breaker.isOpen() && !closed,
      ...(breaker.isOpen() && problem !== undefined && { problem }),
      ...(lastAnswerAtMs !== undefined && { lastAnswerAtMs }),
    }),
    close() {
      closed = true;
      connection?.destroy('the tier is closed');
      connection = undefined;
    },
  };
}
