// The gRPC listeners: a unix socket and loopback TCP, with health and reflection beside the API.

import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import { SidecarError } from '../core/errors.ts';
import type { Clock, Telemetry } from '../ports.ts';
import { GrpcAdapter } from './grpc.ts';
import { type TokenServiceParts, tokenService, tokenServiceDefinition } from './token-service.ts';

/** A unix socket to listen on. */
export interface SocketAddress {
  readonly kind: 'socket';
  readonly path: string;
  readonly mode: number;
  readonly group: string | undefined;
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
  /** Lets running calls end, at the most `drainMs`; then it is gone. */
  close(drainMs: number): Promise<void>;
}

/** Names whose health is told: the empty one and the service's are "Validate answers as configured"; `issuer/NAME` each issuer. */
export class Health {
  readonly #implementation = new HealthImplementation({ '': 'NOT_SERVING', 'sidegate.v1.TokenService': 'NOT_SERVING' });

  set(name: string, serving: boolean): void {
    this.#implementation.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  }

  setServing(serving: boolean): void {
    for (const name of ['', 'sidegate.v1.TokenService']) this.set(name, serving);
  }

  addTo(server: Server): void {
    this.#implementation.addToServer(server);
  }
}

/** Listens. Throws FAILED_PRECONDITION / CANNOT_LISTEN where the address is taken or not allowed. */
export async function listen(address: SocketAddress | TcpAddress, parts: ServerParts, health: Health): Promise<Listener> {
  const server = new Server({
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': parts.requestSizeBytes,
    'grpc.max_concurrent_streams': parts.callsInFlight,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.max_connection_idle_ms': 600_000,
  });
  const adapter = new GrpcAdapter({ ...parts, listener: address.kind });
  server.addService(tokenServiceDefinition, tokenService(parts.service, adapter));
  health.addTo(server);
  new ReflectionService(loadSync(parts.protoFile, { includeDirs: [dirname(dirname(dirname(parts.protoFile)))] })).addToServer(server);
  if (address.kind === 'tcp') {
    const host = address.host.includes(':') ? `[${address.host}]` : address.host;
    const port = await bind(server, `${host}:${address.port}`);
    return { address: `${host}:${port}`, port, close: (drainMs) => close(server, drainMs) };
  }
  await bindSocket(server, address);
  const { path } = address;
  return { address: `unix://${path}`, port: 0, close: (drainMs) => close(server, drainMs).finally(() => removeSocket(path)) };
}

function bind(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (!error) return resolve(port);
      reject(new SidecarError('FAILED_PRECONDITION', `cannot listen on ${address}`, { reason: 'CANNOT_LISTEN', cause: error }));
    });
  });
}

/** grpc-js makes a socket as the umask says; ours must never be open to more than its mode, not for a moment. */
async function bindSocket(server: Server, { path, mode, group }: SocketAddress): Promise<void> {
  const directory = dirname(path);
  const gid = group === undefined ? undefined : groupId(group);
  if (!existsSync(directory)) {
    mkdirSync(directory, { recursive: true, mode: 0o750 });
    if (gid !== undefined) chownSync(directory, -1, gid);
  }
  if (existsSync(path)) await removeStale(path);
  const before = process.umask(0o777 & ~mode);
  try {
    await bind(server, `unix:${path}`);
  } finally {
    process.umask(before);
  }
  chmodSync(path, mode);
  if (gid !== undefined) chownSync(path, -1, gid);
}

/** A socket that nobody listens on is a leftover; one that answers is somebody's. */
function removeStale(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = connect(path);
    probe.setTimeout(1000);
    const taken = (): void => {
      probe.destroy();
      reject(new SidecarError('FAILED_PRECONDITION', `somebody listens on ${path} already`, { reason: 'CANNOT_LISTEN' }));
    };
    probe.once('connect', taken);
    probe.once('timeout', taken);
    probe.once('error', () => {
      removeSocket(path);
      resolve();
    });
  });
}

function removeSocket(path: string): void {
  if (existsSync(path)) unlinkSync(path);
}

function groupId(name: string): number {
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((one) => one.startsWith(`${name}:`));
  const id = Number(line?.split(':')[2]);
  if (line !== undefined && Number.isInteger(id)) return id;
  throw new SidecarError('FAILED_PRECONDITION', `there is no group "${name}"`, { reason: 'NO_SUCH_GROUP' });
}

async function close(server: Server, drainMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    // tryShutdown waits as long as a stream is open: never without an end of our own.
    const force = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, drainMs);
    server.tryShutdown(() => {
      clearTimeout(force);
      resolve();
    });
  });
}
