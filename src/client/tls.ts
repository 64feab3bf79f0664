// How the client knows a sidecar on another host, and who it is there: TLS, from PEM that may be exchanged while it runs.

import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { type ChannelCredentials, type ChannelOptions, credentials } from '@grpc/grpc-js';
import { within } from './deadline.ts';
import { NoAnswerError } from './no-answer-error.ts';

/** PEM text, or what gives it: asked again, at most once a second, so that connections which are made later use what is there then. */
export type Pem = string | (() => string | Promise<string>);

/** Trust in the sidecar, and who we are there. A file stands for its text, whenever that is read. */
export interface TlsOptions {
  /** Who vouches for the sidecar; without it, whom Node trusts. */
  readonly ca?: Pem;
  readonly caFile?: string;
  /** Our certificate, then those between it and its CA. */
  readonly cert?: Pem;
  readonly certFile?: string;
  /** Its key. */
  readonly key?: Pem;
  readonly keyFile?: string;
  /** The name or the address that the sidecar's certificate must have; without it, that of `address`. For tunnels. */
  readonly serverName?: string;
}

/** What a connection is made with. The same object as long as nothing has changed. */
export interface TlsInUse {
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
}

const lookAgainMs = 1000;
/** RFC 6066 §3: an address is not sent as a name. The library sends one always, so it gets one that is nobody's (RFC 2606). */
const noName = 'address.invalid';

/** One client's TLS. */
export class ClientTls {
  readonly #sources: readonly [ca: Pem | undefined, cert: Pem | undefined, key: Pem | undefined];
  readonly #serverName: string;
  readonly #monotonicMs: () => number;
  #inUse: TlsInUse | undefined;
  #texts = '';
  #lookedAtMs = -Infinity;

  /** Throws NoAnswerError INVALID_ARGUMENT / TLS_OPTIONS where the options do not fit together, or the address is none of a host. */
  constructor(tls: TlsOptions, address: string | undefined, monotonicMs: () => number) {
    const ca = sourceOf(tls.ca, tls.caFile, 'ca');
    const cert = sourceOf(tls.cert, tls.certFile, 'cert');
    const key = sourceOf(tls.key, tls.keyFile, 'key');
    if ((cert === undefined) !== (key === undefined)) throw unfit('a certificate and its key belong together');
    const host = /^(?:dns:(?:\/\/[^/]*\/)?|ipv[46]:)?(?:\[([^\]]+)\]|([^:/]+)):\d+$/.exec(address ?? '');
    if (!host) throw unfit('TLS needs the address of a sidecar as host:port');
    this.#sources = [ca, cert, key];
    this.#serverName = tls.serverName ?? host[1] ?? host[2] ?? '';
    this.#monotonicMs = monotonicMs;
  }

  /** Throws NoAnswerError FAILED_PRECONDITION / TLS_FILES where there is nothing to connect with yet. */
  async current(timeoutMs: number, signal: AbortSignal | undefined): Promise<TlsInUse> {
    if (this.#inUse && this.#monotonicMs() - this.#lookedAtMs < lookAgainMs) return this.#inUse;
    this.#lookedAtMs = this.#monotonicMs();
    try {
      const reading = Promise.all(this.#sources.map((source) => (typeof source === 'function' ? source() : source)));
      const [ca, cert, key] = await within(reading, timeoutMs, signal);
      const texts = JSON.stringify([ca, cert, key]);
      if (!this.#inUse || texts !== this.#texts) {
        this.#inUse = inUse([ca, cert, key], this.#serverName);
        this.#texts = texts;
      }
      return this.#inUse;
    } catch (error) {
      // What is being replaced may be away, or half there, for a moment: what it was is good for as long as the sidecar takes it.
      if (this.#inUse) return this.#inUse;
      if (error instanceof NoAnswerError) throw error;
      // Without its cause: OpenSSL may quote what it could not read.
      const why = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
      throw new NoAnswerError('FAILED_PRECONDITION', `the certificates to connect with cannot be used: ${why}`, { reason: 'TLS_FILES' });
    }
  }
}

function inUse([ca, cert, key]: readonly (string | undefined)[], serverName: string): TlsInUse {
  const bytes = (text: string | undefined): Buffer | null => (text === undefined ? null : Buffer.from(text));
  return {
    credentials: credentials.createSsl(bytes(ca), bytes(key), bytes(cert), {
      // Whatever the environment says.
      rejectUnauthorized: true,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(serverName, certificate),
    }),
    options: { 'grpc.ssl_target_name_override': isIP(serverName) === 0 ? serverName : noName },
  };
}

function sourceOf(pem: Pem | undefined, file: string | undefined, name: string): Pem | undefined {
  if (pem !== undefined && file !== undefined) throw unfit(`${name} and ${name}File are two names of one thing`);
  return file === undefined ? pem : () => readFile(file, 'utf8');
}

function unfit(message: string): NoAnswerError {
  return new NoAnswerError('INVALID_ARGUMENT', message, { reason: 'TLS_OPTIONS' });
}
