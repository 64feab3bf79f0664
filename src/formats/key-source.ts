// Where an issuer's keys are had from: its own metadata, a URL, or a file.

import { readFile, stat } from 'node:fs/promises';
import { Agent, buildConnector, request } from 'undici';
import { clockOffset } from '../core/clock-offset.ts';
import { SidecarError } from '../core/errors.ts';
import { parseStrictJson } from '../core/strict-json.ts';
import type { Clock } from '../ports.ts';

/** As configured: the issuer's metadata, a URL of a JWK Set, or a file that holds one. */
export type KeyLocation =
  | { readonly kind: 'discover' }
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'file'; readonly path: string };

/** How a source is asked. */
export interface KeySourceOptions {
  /** `iss`; with `discover` also where its metadata is. */
  readonly issuer: string;
  readonly keys: KeyLocation;
  /** Of each body, and of the file. */
  readonly maxBodyBytes: number;
  /** PEM of the authorities to trust instead of the system's. Read at each fetch. */
  readonly caFile?: string | undefined;
  /**
   * The name to send to the configured host and to expect in its certificate, where it is not that of the URL. A key set that
   * metadata place at another host goes by the name of that host.
   */
  readonly serverName?: string | undefined;
}

/** What a source holds. `clockOffsetMs`: how the clock of whoever sent it stands to ours, as far as that can be told. */
export type SourceState =
  | { readonly kind: 'document'; readonly document: unknown; readonly clockOffsetMs?: number | undefined }
  | { readonly kind: 'unchanged' };

/** Gives the JSON that the source holds now. Throws SidecarError UNAVAILABLE: nothing can be said. The caller sets the deadline. */
export interface KeySource {
  readonly kind: KeyLocation['kind'];
  /** `unchanged`: the same as at the last `fetch` that gave a document and was followed by `accepted`. */
  fetch(signal: AbortSignal): Promise<SourceState>;
  /** The document was good: do not give it again as long as it has not changed. */
  accepted(): void;
}

/** A source. Nothing is read before the first `fetch`. Throws SidecarError INVALID_ARGUMENT where the location is none. */
export function createKeySource(options: KeySourceOptions, clock: Pick<Clock, 'nowMs'>): KeySource {
  const { keys } = options;
  if (keys.kind === 'file') return createFileSource(keys.path, options.maxBodyBytes);
  const addresses = keys.kind === 'url' ? [httpUrl(keys.url, 'keys.url')] : metadataUrls(httpUrl(options.issuer, 'issuer'));
  return {
    kind: keys.kind,
    accepted: () => undefined,
    async fetch(signal) {
      const agent = await createAgent(options, addresses[0]?.host);
      const get = (url: URL): Promise<Reply> => getJson(url, { agent, signal, clock, maxBodyBytes: options.maxBodyBytes });
      try {
        const url = keys.kind === 'url' ? addresses[0] : await discover(addresses, options.issuer, get);
        if (url === undefined) throw unreadable('The issuer has no key set');
        const reply = await get(url);
        return { kind: 'document', document: bodyOf(reply, 'The key set'), clockOffsetMs: reply.clockOffsetMs };
      } finally {
        // A fetch every few minutes: a connection that is kept would be idle for all of its life.
        await agent.destroy();
      }
    },
  };
}

/** OpenID Connect Discovery §4 (behind the issuer's path), then RFC 8414 §3.1 (before it). */
function metadataUrls(issuer: URL): URL[] {
  const path = issuer.pathname.replace(/\/$/, '');
  return [
    new URL(`${issuer.origin}${path}/.well-known/openid-configuration`),
    new URL(`${issuer.origin}/.well-known/oauth-authorization-server${path}`),
  ];
}

async function discover(addresses: readonly URL[], issuer: string, get: (url: URL) => Promise<Reply>): Promise<URL> {
  let reply: Reply | undefined;
  for (const address of addresses) {
    reply = await get(address);
    // Only "not here" (404, 403, …) sends us to the next one; everything else is an answer, or none.
    if (reply.status < 400 || reply.status >= 500) break;
  }
  const metadata = reply === undefined ? undefined : bodyOf(reply, 'The metadata');
  const { issuer: named, jwks_uri: uri } = (metadata ?? {}) as { issuer?: unknown; jwks_uri?: unknown };
  // RFC 8414 §3.3: what names another issuer must not be used.
  if (named !== issuer) throw unreadable('The metadata names another issuer');
  const url = typeof uri === 'string' && URL.canParse(uri) ? new URL(uri) : undefined;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') throw unreadable('The metadata has no jwks_uri');
  if (url.protocol === 'http:' && issuer.startsWith('https:')) throw unreadable('The metadata names a jwks_uri without TLS');
  return url;
}

interface Reply {
  readonly status: number;
  /** Undefined: not JSON of one reading. */
  readonly body: unknown;
  readonly clockOffsetMs: number | undefined;
}

function bodyOf(reply: Reply, what: string): unknown {
  if (reply.status !== 200) throw unreadable(`${what} was answered with status ${reply.status}`);
  if (reply.body === undefined) throw unreadable(`${what} is not JSON`);
  return reply.body;
}

/** One GET. Redirects are not followed: whoever can redirect us could give us their keys. */
async function getJson(
  url: URL,
  how: { readonly agent: Agent; readonly signal: AbortSignal; readonly clock: Pick<Clock, 'nowMs'>; readonly maxBodyBytes: number },
): Promise<Reply> {
  try {
    const sentAtMs = how.clock.nowMs();
    const { statusCode, headers, body } = await request(url, {
      dispatcher: how.agent,
      signal: how.signal,
      headers: { accept: 'application/json, application/jwk-set+json', 'accept-encoding': 'identity' },
    });
    // An answer from a cache tells when it was made, not what time it is.
    const clockOffsetMs =
      headers['age'] === undefined ? clockOffset(headers['date'], { sentAtMs, readAtMs: how.clock.nowMs() }) : undefined;
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > how.maxBodyBytes) throw unreadable(`The answer is larger than ${how.maxBodyBytes} bytes`);
      chunks.push(chunk);
    }
    return { status: statusCode, body: parseStrictJson(Buffer.concat(chunks)), clockOffsetMs };
  } catch (error) {
    if (error instanceof SidecarError) throw error;
    throw new SidecarError('UNAVAILABLE', `The issuer's keys cannot be fetched (${codeOf(error)})`, { reason: 'KEYS_UNREACHABLE' });
  }
}

/** `configuredHost`: with its port, as in a URL; the one whose name `serverName` replaces. */
async function createAgent({ caFile, serverName }: KeySourceOptions, configuredHost: string | undefined): Promise<Agent> {
  const trust = caFile === undefined ? {} : { ca: await readAuthorities(caFile) };
  if (serverName === undefined) return new Agent({ connections: 1, connect: trust });
  const [named, unnamed] = [buildConnector({ ...trust, servername: serverName }), buildConnector(trust)];
  return new Agent({
    connections: 1,
    connect: (target, callback) => (target.host === configuredHost ? named : unnamed)(target, callback),
  });
}

function readAuthorities(caFile: string): Promise<string> {
  return readFile(caFile, 'utf8').catch((error: unknown) => {
    throw unreadable(`The CA file cannot be read (${codeOf(error)})`);
  });
}

function createFileSource(path: string, maxBodyBytes: number): KeySource {
  let offered = '';
  let held = '';
  return {
    kind: 'file',
    accepted() {
      held = offered;
    },
    async fetch() {
      try {
        const { mtimeMs, size, ino } = await stat(path);
        // Looked at before it is read: what is written in between is seen at the next look.
        offered = `${mtimeMs} ${size} ${ino}`;
        if (offered === held) return { kind: 'unchanged' };
        if (size > maxBodyBytes) throw unreadable(`The key file is larger than ${maxBodyBytes} bytes`);
        const document = parseStrictJson(await readFile(path));
        if (document === undefined) throw unreadable('The key file is not JSON');
        return { kind: 'document', document };
      } catch (error) {
        if (error instanceof SidecarError) throw error;
        throw unreadable(`The key file cannot be read (${codeOf(error)})`);
      }
    },
  };
}

function httpUrl(text: string, field: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url;
  throw new SidecarError('INVALID_ARGUMENT', `${field} is not an http or https URL`, { reason: 'BAD_KEY_LOCATION' });
}

// No cause, here and above: what a parser complains of quotes what was sent.
function unreadable(message: string): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason: 'KEYS_UNREADABLE' });
}

/** `ECONNREFUSED` and the like: closed lists of node and undici, never words of the other side. */
function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^[A-Z0-9_]+$/.test(code) ? code : 'failed';
}
