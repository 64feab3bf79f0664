// Where a sidecar listens: gRPC on its socket, on loopback TCP and for other hosts, and the HTTP faces of Validate.

import { readListenPem } from './config/listen-tls.ts';
import type { Address, Config } from './config/types.ts';
import type { Opened } from './opened.ts';
import type { Telemetry } from './ports.ts';
import type { FaceOptions } from './rpc/face.ts';
import type { HttpListener } from './rpc/http-listener.ts';
import { startIntrospectionFace } from './rpc/introspection-face.ts';
import { startKeystoneFace } from './rpc/keystone-face.ts';
import { type Health, listen, type ServerParts } from './rpc/server.ts';
import type { TokenServiceParts } from './rpc/token-service.ts';

/** What listeners need. */
export interface ListenerParts {
  readonly config: Config;
  readonly telemetry: Telemetry;
  /** What is opened here is closed by it. */
  readonly opened: Opened;
}

/** `host:port` of each face; undefined where it is not configured. */
export interface Faces {
  readonly keystone: string | undefined;
  readonly introspection: string | undefined;
}

/** Beyond the drain's own limit, for what comes after it. */
const afterDrainMs = 5000;

/** Where it listens; undefined where that is not configured. Throws as `listen` and the faces. */
export async function openListeners(
  { config, telemetry, opened }: ListenerParts,
  served: ServerParts,
  health: Health,
): Promise<Faces & Record<'socket' | 'tcp' | 'remote', string | undefined>> {
  const { drainMs } = config.shutdown;
  const closing: (() => Promise<void>)[] = [];
  // All at once: a stop takes one drain, however many listen, and nobody takes new calls while another drains.
  const closeAll = async (): Promise<void> => {
    await Promise.all(closing.map((close) => close()));
  };
  opened.keep(closing, 'listeners', closeAll, drainMs + afterDrainMs);
  const open = async (address: Parameters<typeof listen>[0]): Promise<string> => {
    const listener = await listen(address, served, health);
    closing.push(() => listener.close(drainMs));
    return listener.address;
  };
  const openFace = async (start: (signal: AbortSignal) => Promise<HttpListener>): Promise<string> => {
    const stop = new AbortController();
    const face = await start(stop.signal);
    closing.push(() => {
      stop.abort();
      return face.closed;
    });
    return formatAddress({ host: face.address, port: face.port });
  };
  const { socket, tcp, remote, keystone, introspection } = config.listen;
  const options = faceOptions(config, telemetry, served.service);
  const issuers = config.issuers.filter((issuer) => issuer.kind === 'keystone').map((issuer) => issuer.name);
  return {
    socket: socket && (await open({ kind: 'socket', ...socket })),
    tcp: tcp && (await open({ kind: 'tcp', ...tcp })),
    remote: remote && (await open({ kind: 'remote', ...remote.address, read: () => readListenPem(remote.tls) })),
    keystone:
      keystone &&
      (await openFace((signal) =>
        startKeystoneFace({ ...options, address: formatAddress(keystone.address), issuers, allowExpired: keystone.allowExpired }, signal),
      )),
    introspection:
      introspection && (await openFace((signal) => startIntrospectionFace({ ...options, address: formatAddress(introspection) }, signal))),
  };
}

/** What both faces are made of: the same validator, for whoever reaches the loopback. */
function faceOptions(
  { limits, shutdown }: Config,
  telemetry: Telemetry,
  { validator, callers, monotonicMs }: TokenServiceParts,
): Omit<FaceOptions, 'address'> {
  return {
    validator,
    mayValidate: () => callers.allows({ listener: 'tcp', peer: undefined }, 'validate'),
    telemetry,
    monotonicMs,
    tokenSizeBytes: limits.tokenSizeBytes,
    callsInFlight: limits.callsInFlight,
    drainMs: shutdown.drainMs,
  };
}

/** `host:port`, an IPv6 host in brackets. */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
