// `sidegate dev`: an embedded issuer and a sidecar that trusts it, in one process, with tokens to play with. Not for production.

import { devNull } from 'node:os';
import { defaultConfig } from '../config/load.ts';
import type { Config, IntrospectionIssuer, JwtIssuer, ListenConfig } from '../config/types.ts';
import { createSidecar, type Running, systemClock } from '../sidecar.ts';
import { type DevIssuer, devPrefix, startIssuer } from './issuer.ts';
import { devClient } from './issuer-endpoints.ts';
import { findPlaces, type Places } from './places.ts';

/** How it is started. */
export interface DevOptions {
  /** Where to listen if it can be had. Absent: where the command line looks. */
  readonly listen?: ListenConfig;
  /** Takes the sidecar's log lines; only warnings and errors come. */
  readonly log: (line: string) => void;
}

/** A running issuer and its sidecar. */
export interface Dev {
  /** `host:port`: may validate, watch and ask for the status; and revoke by possession. */
  readonly grpc: string;
  /** `unix:///path`: may do everything. */
  readonly socket: string;
  /** `host:port`. */
  readonly operations: string;
  /** What is not where the command line looks, a sentence each. */
  readonly notes: readonly string[];
  readonly issuer: DevIssuer;
  /** The authority goes away: its keys and its introspection are no longer answered. Resolves when it has gone. */
  stopIssuer(): Promise<void>;
  /** Resolves when everything is closed. */
  readonly stopped: Promise<void>;
}

/**
 * Starts the issuer and the sidecar; both live until `signal` aborts, the sidecar draining first.
 * Throws what `Sidecar.start` throws, with nothing left behind.
 */
export async function startDev({ listen, log }: DevOptions, signal: AbortSignal): Promise<Dev> {
  const issuing = new AbortController();
  const issuer = await startIssuer({ clock: systemClock }, issuing.signal);
  const stopIssuer = (): Promise<void> => {
    issuing.abort();
    return issuer.closed;
  };
  const wanted = listen ?? defaultConfig().listen;
  const start = async (places: Places): Promise<Running> => {
    try {
      return await createSidecar({ config: devConfig(issuer, places.listen), destination: { write: log } }).start(signal);
    } catch (error) {
      places.remove();
      throw error;
    }
  };
  try {
    let places = await findPlaces(wanted);
    const running = await start(places).catch(async (error: unknown) => {
      // Somebody took a place between our look and our listening: the second look sees it. What else fails, fails again.
      if (!isTaken(error)) throw error;
      places = await findPlaces(wanted);
      return start(places);
    });
    const { tcp = '', socket = '', operations = '' } = running;
    const stopped = running.stopped.then(stopIssuer).then(places.remove);
    return { grpc: tcp, socket, operations, notes: places.notes, issuer, stopIssuer, stopped };
  } catch (error) {
    await stopIssuer();
    throw error;
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && 'reason' in error && error.reason === 'CANNOT_LISTEN';
}

/** By hand from the defaults: the journal is in memory, and the socket may do everything. */
function devConfig(issuer: DevIssuer, listen: ListenConfig): Config {
  const defaults = defaultConfig();
  return {
    ...defaults,
    name: 'dev',
    listen,
    callers: [
      { who: { kind: 'local' }, may: ['validate', 'watch', 'status'] },
      { who: { kind: 'socket' }, may: ['revoke', 'refresh', 'find', 'details'] },
    ],
    issuers: [signedTokens(issuer), opaqueTokens(issuer)],
    journal: { dir: undefined },
    // Otherwise audit lines would stand between what people type and read.
    audit: { file: devNull },
    logging: { level: 'warn', format: 'pretty' },
    shutdown: { drainMs: 1000 },
  };
}

const common = {
  tls: { caFile: undefined, serverName: undefined },
  skewMs: 0,
  maxTokenLifeMs: 86_400_000,
  serviceRoles: [],
  revokeUpstream: false,
  revocation: undefined,
} as const;

function signedTokens(issuer: DevIssuer): JwtIssuer {
  return {
    ...common,
    kind: 'jwt',
    name: 'dev',
    issuer: issuer.url,
    keys: { kind: 'discover' },
    algorithms: ['ES256'],
    types: ['at+jwt'],
    audiences: [],
    calls: { deadlineMs: 2000 },
    expiredWithinMs: 0,
  };
}

function opaqueTokens(issuer: DevIssuer): IntrospectionIssuer {
  return {
    ...common,
    kind: 'introspection',
    name: 'dev-opaque',
    url: issuer.introspectionUrl,
    auth: { kind: 'basic', clientId: devClient.id, clientSecret: { path: 'of sidegate dev', read: async () => devClient.secret } },
    accepts: ['opaque'],
    prefix: devPrefix,
    calls: { deadlineMs: 2000, concurrency: 16, queue: 256, attempts: 2 },
    endless: false,
  };
}
