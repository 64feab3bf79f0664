// A socket on its way to one server of the tier, in clear or with TLS.

import { lookup as systemLookup } from 'node:dns';
import { connect, isIP, type LookupFunction, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** Where a server listens. Its name is resolved anew for every connection. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

/** PEM that lives in a file; read for every connection, so that what was replaced is used from the next one on. */
export interface PemFile {
  read(): Promise<string>;
}

/** Trust in the servers, and who we are there. */
export interface TlsOptions {
  /** Undefined: the system's. */
  readonly caFile: PemFile | undefined;
  readonly certFile: PemFile | undefined;
  readonly keyFile: PemFile | undefined;
  /** The name that their certificates must have; undefined: the server's host. */
  readonly serverName: string | undefined;
}

/** A socket that is connecting, and the event by which it says that it may be written to. */
export interface Dialled {
  readonly socket: Socket;
  readonly ready: 'connect' | 'secureConnect';
}

/** Begins to connect. Rejects where a file cannot be read, or the name is still being resolved for the connection before. */
export type Dial = () => Promise<Dialled>;

const keepAliveMs = 30_000;

/** Dials one server. A socket that it gives keeps no process alive. `resolve`: how names are resolved, the system's way. */
export function createDial(address: ServerAddress, tls: TlsOptions | undefined, resolve: LookupFunction = systemLookup): Dial {
  const lookUp = oneAtATime(resolve);
  return async () => {
    const target = { ...address, lookup: lookUp() };
    const dialled = tls === undefined ? { socket: connect(target), ready: 'connect' as const } : await dialSecurely(target, tls);
    dialled.socket.setNoDelay(true).setKeepAlive(true, keepAliveMs).unref();
    // It may fail before anybody listens, and would end the process: `socket.errored` tells whoever comes.
    dialled.socket.on('error', () => undefined);
    return dialled;
  };
}

/**
 * A lookup cannot be ended, and holds one of node's few threads until the resolver gives up: those that nobody waits for any more would
 * leave none for the journal.
 */
function oneAtATime(resolve: LookupFunction): () => LookupFunction {
  let isLooking = false;
  return () => {
    if (isLooking) throw new Error('its name is still being resolved');
    return (host, options, done) => {
      isLooking = true;
      resolve(host, options, (...found) => {
        isLooking = false;
        done(...found);
      });
    };
  };
}

async function dialSecurely(
  { host, port, lookup }: ServerAddress & { readonly lookup: LookupFunction },
  tls: TlsOptions,
): Promise<Dialled> {
  const [ca, cert, key] = await Promise.all([tls.caFile?.read(), tls.certFile?.read(), tls.keyFile?.read()]);
  // An address is no name (RFC 6066 §3): it is not sent, and looked for in the certificate all the same.
  const servername = tls.serverName ?? (isIP(host) === 0 ? host : undefined);
  const socket = connectTls({
    host,
    port,
    lookup,
    minVersion: 'TLSv1.2',
    // Whatever the environment says.
    rejectUnauthorized: true,
    ...(servername !== undefined && { servername }),
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  });
  return { socket, ready: 'secureConnect' };
}
