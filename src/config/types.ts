// What the rest of the sidecar knows of its configuration: parsed, in milliseconds and bytes, independent of how it is written.

import type { Secret } from './secrets.ts';

/** Everything in force. Made by `loadConfig`, or by hand from `defaultConfig`. */
export interface Config {
  /** Of this sidecar; undefined: the host's name. */
  readonly name: string | undefined;
  /** Absolute; undefined: a key is made in the journal's directory. */
  readonly deploymentKeyDir: string | undefined;
  readonly listen: ListenConfig;
  /** What a caller may do is the union of the rules that fit it. */
  readonly callers: readonly CallerRule[];
  readonly issuers: readonly IssuerConfig[];
  readonly caching: CachingConfig;
  readonly journal: JournalConfig;
  /** The proof lifetime of Watch: news behind for longer is degraded. At least three checkpoint intervals. */
  readonly maxLagMs: number;
  /** What is answered about an issuer whose news are behind (S13). */
  readonly whenDegraded: DegradedPolicy;
  readonly watch: WatchConfig;
  readonly fleet: FleetConfig;
  readonly limits: LimitsConfig;
  readonly audit: AuditConfig;
  readonly logging: LoggingConfig;
  readonly shutdown: ShutdownConfig;
}

/** The log through which sidecars exchange what was invalidated. `missing`: named, and not configured, which no valid configuration is. */
export type FleetConfig = FleetEngineConfig & {
  /** Labels of keys that no sidecar has: records under them are nobody's, 16 hex digits each. */
  readonly ignoredKeys?: readonly string[];
};

/** Which log. */
export type FleetEngineConfig =
  | { readonly kind: 'none' }
  | { readonly kind: 'missing'; readonly engine: 'rabbitmq' | 'jetstream' | 'follow' }
  | { readonly kind: 'rabbitmq'; readonly transportUrl: Secret; readonly stream: string; readonly tls: ServerTlsConfig }
  | {
      readonly kind: 'jetstream';
      readonly servers: SharedConfig['servers'];
      readonly stream: string;
      readonly replicas: number;
      readonly credentials: Secret | undefined;
      readonly tls: ServerTlsConfig | undefined;
    }
  /** A log of this sidecar's own, beside its journal, for those who follow it. */
  | { readonly kind: 'local' }
  | { readonly kind: 'follow'; readonly address: SharedConfig['servers'][number]; readonly tls: ServerTlsConfig };

/** Where is listened; undefined: not. At least one of `socket`, `tcp` and `remote` is there. */
export interface ListenConfig {
  readonly socket: SocketConfig | undefined;
  /** Loopback. */
  readonly tcp: Address | undefined;
  /** Any address of this host, by mutual TLS. */
  readonly remote: RemoteConfig | undefined;
  /** Metrics and health. May be any address of this host. */
  readonly operations: Address | undefined;
  /** Keystone's own `GET /v3/auth/tokens`, for an unmodified auth_token. Loopback. */
  readonly keystone: { readonly address: Address; readonly allowExpired: boolean } | undefined;
  /** RFC 7662. Loopback. */
  readonly introspection: Address | undefined;
}

/** A unix socket. */
export interface SocketConfig {
  /** Absolute, at most 107 bytes. */
  readonly path: string;
  /** Permission bits, for example `0o660`. */
  readonly mode: number;
  /** Name of its group; undefined: the process's own. */
  readonly group: string | undefined;
}

/** A listener for other hosts: both sides show a certificate. */
export interface RemoteConfig {
  readonly address: Address;
  readonly tls: ListenTlsConfig;
}

/** Who we are to callers, and who vouches for them. PEM; each is read again when it changes. */
export interface ListenTlsConfig {
  /** The certificate first, then those between it and its CA. */
  readonly certFile: Secret;
  readonly keyFile: Secret;
  readonly clientCaFile: Secret;
}

/** A numeric address or `localhost`, without brackets; port 0: any free one. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What may be granted. Validate and Revoke by possession of the token need no more than to reach a listener that grants `validate`. */
export type Permission = 'validate' | 'watch' | 'status' | 'revoke' | 'refresh' | 'find' | 'details' | 'fleet';

/** Who may do what. */
export interface CallerRule {
  readonly who: CallerMatch;
  readonly may: readonly Permission[];
}

/**
 * `local`: the socket and loopback TCP; `socket`: who could open the socket; `token-role`: a bearer token that itself validates;
 * `spiffe-id` and `certificate-name`: who has shown `listen.remote` a certificate with this one URI, or with this DNS name (lower case).
 */
export type CallerMatch =
  | { readonly kind: 'local' }
  | { readonly kind: 'socket' }
  | { readonly kind: 'token-role'; readonly role: string; readonly issuer: string }
  | { readonly kind: 'spiffe-id'; readonly id: string }
  | { readonly kind: 'certificate-name'; readonly name: string };

/**
 * `refuse`: no answer. `revalidate`: facts are confirmed first, where the authority can be asked; what cannot be serves, marked.
 * `serve-marked`: facts serve as long as ever, marked.
 */
export type DegradedPolicy = 'refuse' | 'revalidate' | 'serve-marked';

/** An issuer of tokens. `name` is unique. */
export type IssuerConfig = KeystoneIssuer | JwtIssuer | IntrospectionIssuer;

/** What every issuer has. */
export interface IssuerBase {
  /** In answers, metrics and `callers`. */
  readonly name: string;
  readonly tls: TlsConfig;
  /** How far its clock may be from ours, besides `limits.skewMs`. */
  readonly skewMs: number;
  /** S12: longer-lived tokens are inactive. */
  readonly maxTokenLifeMs: number;
  /** A token with one of these roles, by name, is a service token (S16). */
  readonly serviceRoles: readonly string[];
  /** Whether it is told of a Revoke by possession that does not say. */
  readonly revokeUpstream: boolean;
}

/** RFC 7009: where an issuer is told of a revocation, and who we are there. */
export interface RevocationConfig {
  readonly url: string;
  readonly auth: ClientAuth;
}

/** RFC 6749 §2.3.1. */
export interface ClientAuth {
  readonly kind: 'basic' | 'post';
  readonly clientId: string;
  readonly clientSecret: Secret;
}

/** Trust in a server. */
export interface TlsConfig {
  /** PEM; undefined: the system's. */
  readonly caFile: Secret | undefined;
  /** The name that its certificate must have; undefined: the host of the URL. */
  readonly serverName: string | undefined;
}

/** Shapes of opaque tokens; each but `opaque` is told by its look and wins over `opaque`. */
export type TokenShape = 'fernet' | 'keystone-jws' | 'uuid' | 'pki' | 'opaque';

/** Bounds on what is asked of an authority. */
export interface CallsConfig {
  readonly deadlineMs: number;
  /** Calls under way at once. */
  readonly concurrency: number;
  /** Calls waiting; one more is refused. */
  readonly queue: number;
  /** Tries in all, the first included. */
  readonly attempts: number;
}

/** OpenStack Keystone v3. */
export interface KeystoneIssuer extends IssuerBase {
  readonly kind: 'keystone';
  /** Without a slash at its end. */
  readonly url: string;
  readonly login: KeystoneLogin;
  readonly accepts: readonly TokenShape[];
  /** Its tokens begin with this; the longest prefix wins. */
  readonly prefix: string | undefined;
  readonly calls: CallsConfig;
  /** How long after its end a token may still serve a long operation; revocations are kept for as long. */
  readonly expiredWithinMs: number;
  /** Tokens with neither issue nor end are accepted. */
  readonly endless: boolean;
  /** What its tokens can be read with here; without it they are opaque. */
  readonly keys: KeystoneKeys;
  /** Who tells of what happens there. */
  readonly news: KeystoneNews;
}

/** Keys of Keystone that are at hand. Each is read again when it changes. */
export interface KeystoneKeys {
  /** Absolute: the directory of a Fernet key repository, `[fernet_tokens] key_repository`. */
  readonly fernetDir: string | undefined;
  /** Absolute: a directory of public keys (PEM), `[jwt_tokens] jws_public_key_repository`. */
  readonly jwsDir: string | undefined;
  /** Certificates (PEM) that PKI and PKIZ tokens are signed with, and who vouches for those. */
  readonly pki: { readonly signingCert: Secret; readonly ca: Secret } | undefined;
}

/** Sources of news about a Keystone; undefined: not heard. */
export interface KeystoneNews {
  readonly bus: BusConfig | undefined;
  readonly poll: PollConfig | undefined;
}

/** Keystone's notifications, out of RabbitMQ (S10). */
export interface BusConfig {
  /** As oslo.messaging writes it: `rabbit://user:password@host:port,user:password@host:port/vhost`. */
  readonly transportUrl: Secret;
  /** `serverName`: also of every host of the URL, for tunnels. */
  readonly tls: ServerTlsConfig;
  /** `[DEFAULT] control_exchange` of Keystone. */
  readonly exchange: string;
  /** `[oslo_messaging_notifications] topics` of Keystone. */
  readonly topics: readonly string[];
  /** Whether the exchange is made where it is not there, and how; `never`: it is waited for. */
  readonly declareExchange: 'never' | 'transient' | 'durable';
  /** Sidecars of a fleet with one pool share one queue; undefined: a queue of its own. */
  readonly pool: string | undefined;
}

/** Keystone's list of revocation events (S11). */
export interface PollConfig {
  readonly everyMs: number;
  /** How far each poll reaches back before the one before. */
  readonly overlapMs: number;
  /** Between two that reach back over a token's whole life. */
  readonly sweepMs: number;
}

/** How the sidecar itself logs in. */
export type KeystoneLogin =
  | { readonly kind: 'application-credential'; readonly id: string; readonly secret: Secret }
  | {
      readonly kind: 'password';
      readonly username: string;
      readonly userDomain: string;
      readonly project: string;
      readonly projectDomain: string;
      readonly password: Secret;
    };

/** Signed tokens of OAuth and OpenID Connect. */
export interface JwtIssuer extends IssuerBase {
  readonly kind: 'jwt';
  /** The `iss` of its tokens. With discovered keys, an http(s) URL. */
  readonly issuer: string;
  readonly keys:
    | { readonly kind: 'discover' }
    | { readonly kind: 'url'; readonly url: string }
    | { readonly kind: 'file'; readonly file: Secret };
  /** Asymmetric ones only. */
  readonly algorithms: readonly JwtAlgorithm[];
  /** Accepted `typ`, as written: compare as RFC 7515 §4.1.9 says. None that no access token may have. */
  readonly types: readonly string[];
  /** Accepted where the caller demands none; empty: then every audience is. */
  readonly audiences: readonly string[];
  /** Undefined: it cannot be told. */
  readonly revocation: RevocationConfig | undefined;
  /** Of a key fetch; when the next one is tried is said by `caching.keys`. */
  readonly calls: Pick<CallsConfig, 'deadlineMs'>;
  readonly expiredWithinMs: number;
}

/** Signatures that prove an issuer: never a shared secret, never none. */
export type JwtAlgorithm = 'ES256' | 'ES384' | 'ES512' | 'RS256' | 'RS384' | 'RS512' | 'PS256' | 'PS384' | 'PS512' | 'EdDSA' | 'Ed25519';

/** RFC 7662. */
export interface IntrospectionIssuer extends IssuerBase {
  readonly kind: 'introspection';
  readonly url: string;
  readonly auth: ClientAuth;
  /** Undefined: it cannot be told. */
  readonly revocation: RevocationConfig | undefined;
  readonly accepts: readonly TokenShape[];
  readonly prefix: string | undefined;
  readonly calls: CallsConfig;
  readonly endless: boolean;
}

/** What is remembered, and for how long. */
export interface CachingConfig {
  /** Off: nothing is remembered. */
  readonly enabled: boolean;
  /** S6: facts fetched sooner than this after a REFRESH are fetched once more. */
  readonly settleMs: number;
  /** S7: a REFRESH that names nobody takes effect spread over this. */
  readonly wideWindowMs: number;
  readonly memory: { readonly maxSizeBytes: number };
  readonly shared: SharedConfig;
  /**
   * `timeMs`: the greatest age of facts. Written "token", it is the longest life of any issuer's tokens: their own end comes first.
   * `refreshAhead`: the part of `timeMs` after which a hit has the facts confirmed again beside it; 1: never.
   * `staleWhileDownMs`: the most that a request may ask for beyond `timeMs` while the authority cannot be reached.
   */
  readonly token: {
    readonly enabled: boolean;
    readonly timeMs: number;
    readonly jitter: number;
    readonly refreshAhead: number;
    readonly staleWhileDownMs: number;
  };
  readonly catalog: { readonly enabled: boolean; readonly timeMs: number };
  readonly keys: { readonly timeMs: number; readonly cooldownMs: number; readonly staleWhileDownMs: number };
  readonly unknown: { readonly enabled: boolean; readonly timeMs: number; readonly maxEntries: number };
  /** Handles are accepted in place of tokens. */
  readonly handles: { readonly enabled: boolean };
}

/** The tier that sidecars share: memcached. Without servers there is none. */
export interface SharedConfig {
  /** Names or addresses. */
  readonly servers: readonly Address[];
  /** Undefined: in clear; what is stored is sealed all the same. */
  readonly tls: ServerTlsConfig | undefined;
  /** Of one request. */
  readonly deadlineMs: number;
  /** After so many failures in a row a server is not asked for `retryAfterMs`. */
  readonly breaker: { readonly failures: number; readonly retryAfterMs: number };
}

/** Trust in a server, and who we are there. */
export interface ServerTlsConfig extends TlsConfig {
  readonly certFile: Secret | undefined;
  readonly keyFile: Secret | undefined;
}

/** Where invalidations are kept. */
export interface JournalConfig {
  /** Absolute; undefined (never for `serve`): not kept beyond this process. */
  readonly dir: string | undefined;
}

/** Bounds of Watch. */
export interface WatchConfig {
  readonly checkpointIntervalMs: number;
  readonly maxWatchers: number;
  /** Entries in memory that all watchers share. */
  readonly ring: number;
}

/** Bounds of everything else. */
export interface LimitsConfig {
  readonly tokenSizeBytes: number;
  readonly requestSizeBytes: number;
  readonly callsInFlight: number;
  /** Between the clocks of our hosts. */
  readonly skewMs: number;
  /** The longest wait for an entry that a caller asks freshness by. */
  readonly freshnessWaitMs: number;
  readonly upstreamBodyBytes: number;
  /** A second and listener, of `remote` and caller: tokens of which only the shape is known. */
  readonly unverifiedRevokes: number;
}

/** Where audit lines go. */
export interface AuditConfig {
  /** Absolute; undefined: with the other lines. */
  readonly file: string | undefined;
}

/** Lines for people and machines. */
export interface LoggingConfig {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly format: 'json' | 'pretty';
}

/** The end. */
export interface ShutdownConfig {
  /** The longest wait for running calls. */
  readonly drainMs: number;
}
