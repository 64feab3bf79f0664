// The gRPC listeners: a unix socket, loopback TCP, and TLS for other hosts, with health and reflection beside the API.

import { dirname } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import { SidecarError } from '../core/errors.ts';
import type { Clock, Telemetry } from '../ports.ts';
import { type FleetServiceParts, fleetService, fleetServiceDefinition } from './fleet-service.ts';
import { GrpcAdapter } from './grpc.ts';
import { listenRemotely, type RemoteAddress } from './remote-listener.ts';
import { StreamsBeside } from './streams-beside.ts';
import { type TokenServiceParts, tokenService, tokenServiceDefinition } from './token-service.ts';
import { bindUnixSocket, type SocketPlace } from './unix-socket.ts';

/** A unix socket to listen on. */
export interface SocketAddress extends SocketPlace {
  readonly kind: 'socket';
}

/** A loopback address to listen on. */
export interface TcpAddress {
  readonly kind: 'tcp';
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** What a server needs. */
export interface ServerParts {
  readonly service: TokenServiceParts;
  readonly lending: FleetServiceParts['lending'];
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly requestSizeBytes: number;
  readonly callsInFlight: number;
  /** Of the API, for reflection. */
  readonly protoFile: string;
}

/** A listener that listens. */
export interface Listener {
  /** `unix:///path` or `host:port`. */
  readonly address: string;
  readonly port: number;
  /** Takes no more calls and lets those of the API end that run, at the most `drainMs`; then it is gone. Other streams end at once. */
  close(drainMs: number): Promise<void>;
}

/**
 * Names whose health is told: the empty one and the service's are "Validate answers as configured"; `issuer/NAME` each issuer,
 * `news/ISSUER/NAME` each source of news.
 */
export class Health {
  readonly #implementation = new HealthImplementation({ '': 'NOT_SERVING', 'sidegate.v1.TokenService': 'NOT_SERVING' });

  set(name: string, serving: boolean): void {
    this.#implementation.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  }

  setServing(serving: boolean): void {
    for (const name of ['', 'sidegate.v1.TokenService']) this.set(name, serving);
  }

  addTo(server: Pick<Server, 'addService'>): void {
    this.#implementation.addToServer(server);
  }
}

/**
 * Listens. Throws FAILED_PRECONDITION / CANNOT_LISTEN where the address is taken or not allowed, and NO_SUCH_GROUP; in words that name
 * it, and nothing is left listening. `remote`: also what its `read` throws.
 */
export async function listen(address: SocketAddress | TcpAddress | RemoteAddress, parts: ServerParts, health: Health): Promise<Listener> {
  const server = new Server({
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': parts.requestSizeBytes,
    'grpc.max_concurrent_streams': parts.callsInFlight,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
  const adapter = new GrpcAdapter({ ...parts, listener: address.kind });
  server.addService(tokenServiceDefinition, tokenService(parts.service, adapter));
  server.addService(fleetServiceDefinition, fleetService({ ...parts.service, lending: parts.lending }, adapter));
  const beside = new StreamsBeside(server);
  health.addTo(beside);
  new ReflectionService(loadSync(parts.protoFile, { includeDirs: [dirname(dirname(dirname(parts.protoFile)))] })).addToServer(beside);
  try {
    const { drain, ...told } = address.kind === 'remote' ? await bindRemotely(server, address, parts) : await bind(server, address);
    return {
      ...told,
      close: (drainMs) => {
        beside.end();
        return close(server, drain, drainMs);
      },
    };
  } catch (error) {
    // It may listen already, where only what comes after is not allowed.
    server.forceShutdown();
    throw error;
  }
}

interface Bound extends Pick<Listener, 'address' | 'port'> {
  /** Ends its connections with their last calls, and cuts what is left of them. */
  readonly drain: (drainMs: number) => void;
}

async function bindRemotely(server: Server, address: RemoteAddress, { clock, telemetry }: ServerParts): Promise<Bound> {
  const { port, drain } = await listenRemotely(server, address, { clock, log: telemetry.log });
  return { address: `${bracketed(address.host)}:${port}`, port, drain };
}

async function bind(server: Server, address: SocketAddress | TcpAddress): Promise<Bound> {
  if (address.kind === 'socket') {
    const bound = `unix:${address.path}`;
    await bindUnixSocket(address, () => bindAddress(server, bound));
    return { drain: (drainMs) => server.drain(bound, drainMs), address: `unix://${address.path}`, port: 0 };
  }
  const host = bracketed(address.host);
  const port = await bindAddress(server, `${host}:${address.port}`);
  const bound = `${host}:${port}`;
  return { drain: (drainMs) => server.drain(bound, drainMs), address: bound, port };
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function bindAddress(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (!error) return resolve(port);
      // The system's own words, out of the library's around them.
      const why = /\[(.+)\]$/s.exec(error.message)?.[1] ?? error.message;
      const message = `cannot listen on ${address}: ${why}`;
      reject(new SidecarError('FAILED_PRECONDITION', message, { reason: 'CANNOT_LISTEN', cause: error }));
    });
  });
}

/** Node removes the socket of a server as it closes: removed by us when it is drained, it could be that of our successor. */
function close(server: Server, drain: Bound['drain'], drainMs: number): Promise<void> {
  // What is open after `drainMs` is cut. Not by forceShutdown: without channelz it knows no connection, and cuts none.
  // First, because it cuts only what had not begun to close before it.
  drain(drainMs);
  return new Promise((resolve) => server.tryShutdown(() => resolve()));
}
