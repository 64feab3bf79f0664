// One connection to the sidecar that is followed: mutual TLS from files that are read for each, and an end for one reason.

import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { type ChannelCredentials, type ClientUnaryCall, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { SidecarError } from '../core/errors.ts';
import { type AppendRecordsResponse, FleetServiceClient } from '../gen/sidegate/v1/token_service.ts';
import { noLog } from './log-error.ts';

/** PEM that lives in a file; read for every connection, so that what was replaced is used from the next one on. */
export interface PemFile {
  read(): Promise<string>;
}

/** Whom we follow, by what we know it, and who we are there. */
export interface UpstreamIdentity {
  readonly address: { readonly host: string; readonly port: number };
  readonly tls: {
    /** Undefined: the system's. */
    readonly caFile: PemFile | undefined;
    readonly certFile: PemFile | undefined;
    readonly keyFile: PemFile | undefined;
    /** The name that the upstream's certificate must have; undefined: the host's. */
    readonly serverName: string | undefined;
  };
}

/** A connection that stands. */
export interface UpstreamConnection {
  /** For people: `the sidecar at host:port`. */
  readonly upstream: string;
  readonly client: FleetServiceClient;
  /** Aborts with a SidecarError when it has ended. */
  readonly signal: AbortSignal;
  /** Ends it; tells with what. */
  fail(cause: unknown): Error;
  /** Appends, within the time for one call. Rejects with what the library says. */
  append(records: readonly Uint8Array[]): Promise<void>;
}

/** For any one append, and to connect: an upstream that hangs is given up by then. */
const appendMs = 5_000;
/** RFC 6066 §3: an address is not sent as a name. The library sends one always, so it gets one that is nobody's (RFC 2606). */
const noName = 'address.invalid';

/** Connects, and asks whether the log is there. Rejects with a SidecarError, within some 5 s. */
export async function connectToUpstream(identity: UpstreamIdentity, signal: AbortSignal): Promise<UpstreamConnection> {
  const { host, port } = identity.address;
  const shown = host.includes(':') ? `[${host}]` : host;
  const upstream = `the sidecar at ${shown}:${port}`;
  const serverName = identity.tls.serverName ?? host;
  const client = new FleetServiceClient(`${shown}:${port}`, await credentialsOf(identity, upstream), {
    'grpc.ssl_target_name_override': isIP(serverName) === 0 ? serverName : noName,
    // Each connection has its own, which ends with it.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
    'grpc.keepalive_time_ms': 5_000,
    'grpc.keepalive_timeout_ms': 5_000,
    'grpc.keepalive_permit_without_calls': 1,
  });
  const ended = new AbortController();
  const connection: UpstreamConnection = {
    upstream,
    client,
    signal: ended.signal,
    fail(cause) {
      const error = wordsFor(upstream, cause);
      if (ended.signal.aborted) return ended.signal.reason;
      ended.abort(error);
      client.close();
      return error;
    },
    append: (records) => appended(client, records, ended.signal),
  };
  const leave = (): void => void connection.fail(noLog(`${upstream} was left`));
  signal.addEventListener('abort', leave, { once: true });
  try {
    if (signal.aborted) leave();
    // Fails at once where no connection can be had, and says why.
    await connection.append([]);
    return connection;
  } catch (cause) {
    throw connection.fail(cause);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

async function credentialsOf({ address, tls }: UpstreamIdentity, upstream: string): Promise<ChannelCredentials> {
  try {
    const [ca, key, cert] = await Promise.all([tls.caFile, tls.keyFile, tls.certFile].map(async (file) => bytesOf(await file?.read())));
    return credentials.createSsl(ca ?? null, key ?? null, cert ?? null, {
      // Whatever the environment says.
      rejectUnauthorized: true,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(tls.serverName ?? address.host, certificate),
    });
  } catch (cause) {
    // Without its cause: OpenSSL may quote what it could not read.
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unreadable';
    throw noLog(`the certificates for ${upstream} cannot be used: ${why}`);
  }
}

function bytesOf(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : Buffer.from(text);
}

function appended(client: FleetServiceClient, records: readonly Uint8Array[], ended: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = { records: records.map((bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)) };
    const done = (error: ServiceError | null, _answer?: AppendRecordsResponse): void => {
      ended.removeEventListener('abort', leave);
      if (error) reject(ended.aborted ? ended.reason : error);
      else resolve();
    };
    const leave = (): void => call.cancel();
    const call: ClientUnaryCall = client.appendRecords(request, new Metadata(), { deadline: Date.now() + appendMs }, done);
    ended.addEventListener('abort', leave, { once: true });
    if (ended.aborted) leave();
  });
}

const plain: Readonly<Partial<Record<status, string>>> = {
  [status.PERMISSION_DENIED]: 'does not let us follow it: a line of its callers must let this certificate `fleet`',
  [status.UNAUTHENTICATED]: 'does not know who we are: a line of its callers must let this certificate `fleet`',
  [status.UNIMPLEMENTED]: 'is of a version that cannot be followed',
  [status.DEADLINE_EXCEEDED]: 'gave no answer in time',
};

/** What went wrong, in words; a SidecarError of ours stays as it is. */
function wordsFor(upstream: string, cause: unknown): Error {
  if (!isServiceError(cause)) {
    if (cause instanceof SidecarError) return cause;
    return noLog(`${upstream} cannot be reached: ${cause instanceof Error ? cause.message : 'unknown'}`, cause);
  }
  const said = plain[cause.code];
  if (said !== undefined) return noLog(`${upstream} ${said}`, cause);
  return noLog(
    cause.code === status.FAILED_PRECONDITION ? `${upstream}: ${cause.details}` : `${upstream} is away: ${cause.details}`,
    cause,
  );
}

function isServiceError(cause: unknown): cause is ServiceError {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'number' && 'details' in cause;
}
