// Where a sidecar listens: gRPC on its socket and on loopback TCP, and the HTTP faces of Validate.

import type { Address, Config } from './config/types.ts';
import type { Opened } from './opened.ts';
import type { Telemetry } from './ports.ts';
import type { HttpListener } from './rpc/http-listener.ts';
import { startIntrospectionFace } from './rpc/introspection-face.ts';
import { startKeystoneFace } from './rpc/keystone-face.ts';
import { type Health, type Listener, listen, type ServerParts } from './rpc/server.ts';
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

/** Opens the socket and loopback TCP. Throws as `listen`. */
export async function openListeners(
  { config, opened }: ListenerParts,
  served: ServerParts,
  health: Health,
): Promise<{ readonly socket: string | undefined; readonly tcp: string | undefined }> {
  const { drainMs } = config.shutdown;
  const listeners: Listener[] = [];
  const closeAll = async (): Promise<void> => {
    await Promise.all(listeners.map((listener) => listener.close(drainMs)));
  };
  opened.keep(listeners, 'listeners', closeAll, drainMs + afterDrainMs);
  const open = async (address: Parameters<typeof listen>[0]): Promise<string> => {
    const listener = await listen(address, served, health);
    listeners.push(listener);
    return listener.address;
  };
  const { socket, tcp } = config.listen;
  return {
    socket: socket && (await open({ kind: 'socket', ...socket })),
    tcp: tcp && (await open({ kind: 'tcp', ...tcp })),
  };
}

/** Opens Keystone's API and RFC 7662, where they are configured: on the same validator, for whoever reaches the loopback. */
export async function openFaces(
  { config, telemetry, opened }: ListenerParts,
  { validator, callers, monotonicMs }: TokenServiceParts,
): Promise<Faces> {
  const { listen: listens, limits, shutdown } = config;
  const common = {
    validator,
    mayValidate: () => callers.allowsAnyone('tcp', 'validate'),
    telemetry,
    monotonicMs,
    tokenSizeBytes: limits.tokenSizeBytes,
    callsInFlight: limits.callsInFlight,
    drainMs: shutdown.drainMs,
  };
  type Start = (options: typeof common & { readonly address: string }, signal: AbortSignal) => Promise<HttpListener>;
  const open = async (name: string, address: Address, start: Start): Promise<string> => {
    const stop = new AbortController();
    const face = await start({ ...common, address: formatAddress(address) }, stop.signal);
    const close = (): Promise<void> => {
      stop.abort();
      return face.closed;
    };
    opened.keep(face, `${name} face`, close, shutdown.drainMs + afterDrainMs);
    return formatAddress({ host: face.address, port: face.port });
  };
  const { keystone, introspection } = listens;
  const issuers = config.issuers.filter((issuer) => issuer.kind === 'keystone').map((issuer) => issuer.name);
  return {
    keystone:
      keystone &&
      (await open('Keystone', keystone.address, (options, signal) =>
        startKeystoneFace({ ...options, issuers, allowExpired: keystone.allowExpired }, signal),
      )),
    introspection: introspection && (await open('introspection', introspection, startIntrospectionFace)),
  };
}

/** `host:port`, an IPv6 host in brackets. */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
