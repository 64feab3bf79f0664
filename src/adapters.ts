// The catalogue: which file serves which kind of the configuration. A new one is one line here.

import { join } from 'node:path';
import type {
  CachingConfig,
  ClientAuth as ClientAuthConfig,
  FleetConfig,
  IntrospectionIssuer,
  IssuerConfig,
  JwtIssuer,
  KeystoneIssuer,
  LimitsConfig,
  SharedConfig,
} from './config/types.ts';
import type { LifeRules } from './core/decision.ts';
import type { DeploymentKey } from './core/tag.ts';
import { createFollow } from './fleet/follow.ts';
import { createJetstream } from './fleet/jetstream.ts';
import { createLocalLog } from './fleet/local-log.ts';
import { createRabbitmqStream } from './fleet/rabbitmq-stream.ts';
import { createJwtFormat } from './formats/jwt.ts';
import { createKeystoneFormat } from './formats/keystone.ts';
import { createOpaqueFormat } from './formats/opaque.ts';
import { createPkiReader } from './formats/pki.ts';
import { openLevelJournal } from './journal/leveldb.ts';
import { createMemoryJournal } from './journal/memory.ts';
import { busQueueName, poolQueueName } from './news/bus/queue.ts';
import { createKeystoneBus } from './news/keystone-bus.ts';
import { createRevocationEvents } from './news/keystone-revocation-events.ts';
import type {
  Clock,
  Engine,
  Journal,
  Logger,
  NewsSource,
  ProjectStanding,
  SharedCache,
  SharedQuestion,
  Telemetry,
  TokenFormat,
  Upstream,
} from './ports.ts';
import type { Issuer } from './service/issuer.ts';
import { createMemcached } from './shared-cache/memcached.ts';
import type { ClientAuth } from './upstreams/client-auth.ts';
import { createIntrospection } from './upstreams/introspection.ts';
import { createKeystone, type Keystone } from './upstreams/keystone.ts';
import { createRevocation } from './upstreams/revocation.ts';

/** What adapters need of the world. */
export interface AdapterDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: LimitsConfig;
  readonly caching: CachingConfig;
  /** How far news may be behind before they count as missed. */
  readonly maxLagMs: number;
  /** Who we are: what others may know us by, and what is the same after a restart. */
  readonly sidecar: { readonly name: string; readonly journalId: string };
  /** Small values that outlive the process. */
  readonly notes: Pick<Journal, 'note' | 'noted'>;
  /** What is asked of an issuer's `source` (`poll`, `sweep`, `bus`) by one sidecar for its whole fleet; absent: each asks for itself. */
  readonly shared?: (issuer: string, source: string) => SharedQuestion;
}

/** An issuer with whatever it holds open. */
export interface OpenIssuer {
  readonly issuer: Issuer;
  /** Who tells of what happens there; absent: nobody. */
  readonly news?: readonly NewsSource[];
  /** How a project there stands; absent: nobody can be asked. */
  readonly project?: (id: string, signal: AbortSignal) => Promise<ProjectStanding>;
  close(): Promise<void>;
}

/** The adapters of Sidegate; `createSidecar` takes others in their place. */
export interface Adapters {
  issuer(config: IssuerConfig, deps: AdapterDeps): OpenIssuer;
  journal(dir: string | undefined, deps: { readonly clock: Clock }): Promise<Journal>;
  /** The tier that sidecars share; undefined where none is configured. */
  sharedCache(config: SharedConfig, deps: SharedCacheDeps): SharedCache | undefined;
  /** What carries entries between sidecars; undefined where nothing does. */
  engine(config: FleetConfig, deps: EngineDeps): Engine | undefined;
}

/** What an engine needs of the world. */
export interface EngineDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** Who we are, for the operator of the log. */
  readonly name: string;
  /** For how long a record may matter to somebody, in milliseconds. */
  readonly retentionMs: number;
  /** Where the journal is; undefined: in memory. */
  readonly journalDir: string | undefined;
}

/** What a shared tier needs of the world. */
export interface SharedCacheDeps {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Of the deployment, newest first. */
  readonly keys: readonly [DeploymentKey, ...DeploymentKey[]];
}

/**
 * Signatures are verified here, and what waits for keys must not stand before what has them: bounded by the calls in flight alone,
 * and by one fetch of a key set at a time.
 */
const nobodyAsked = { concurrency: Number.POSITIVE_INFINITY, queue: 0 } as const;

/** The catalogue. */
export const adapters: Adapters = {
  issuer(config, deps) {
    if (config.kind === 'jwt') return jwtIssuer(config, deps);
    return config.kind === 'keystone' ? keystoneIssuer(config, deps) : introspectionIssuer(config, deps);
  },
  sharedCache: (config, { keys, ...deps }) => (config.servers.length === 0 ? undefined : createMemcached({ ...config, keys }, deps)),
  engine,
  journal: (dir, deps) => (dir === undefined ? Promise.resolve(createMemoryJournal(deps)) : openLevelJournal({ dir, ...deps })),
};

function engine(config: FleetConfig, { clock, log, name, retentionMs, journalDir }: EngineDeps): Engine | undefined {
  const connectionName = `sidegate ${name} fleet`;
  if (config.kind === 'rabbitmq') {
    return shareable(() => createRabbitmqStream({ ...config, connectionName, retentionMs }, { clock, log }));
  }
  if (config.kind === 'jetstream') {
    const scheme = config.tls === undefined ? 'nats' : 'tls';
    const servers = config.servers.map(({ host, port }) => `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`);
    return shareable(() => createJetstream({ ...config, servers, connectionName, retentionMs }, { clock }));
  }
  if (config.kind === 'follow') return shareable(() => createFollow(config, { clock }));
  if (config.kind === 'local' && journalDir !== undefined) {
    return createLocalLog({ dir: join(journalDir, 'fleet-log'), retentionMs }, { clock, log });
  }
  return undefined;
}

/** Who follows this sidecar has a connection of his own to the log. */
function shareable(make: () => Engine): Engine {
  return { ...make(), another: make };
}

function jwtIssuer(config: JwtIssuer, { clock, log, caching, limits }: AdapterDeps): OpenIssuer {
  const keys = config.keys.kind === 'file' ? { kind: 'file' as const, path: config.keys.file.path } : config.keys;
  const format = createJwtFormat(
    {
      name: config.name,
      issuer: config.issuer,
      keys,
      algorithms: config.algorithms,
      types: config.types,
      keysTimeMs: caching.keys.timeMs,
      keysCooldownMs: caching.keys.cooldownMs,
      keysStaleWhileDownMs: caching.keys.staleWhileDownMs,
      deadlineMs: config.calls.deadlineMs,
      maxBodyBytes: limits.upstreamBodyBytes,
      ...tlsOf(config),
    },
    { clock, log },
  );
  const revocation =
    config.revocation &&
    createRevocation(
      {
        name: config.name,
        url: config.revocation.url,
        auth: authOf(config.revocation.auth),
        ...tlsOf(config),
        deadlineMs: config.calls.deadlineMs,
        attempts: 2,
        maxBodyBytes: limits.upstreamBodyBytes,
      },
      { clock },
    );
  const issuer: Issuer = {
    name: config.name,
    accepts: ['jwt'],
    jwtIssuer: config.issuer,
    format,
    life: { ...lifeOf(config, limits), endless: false, needsIssueTime: true, audiences: config.audiences },
    expiredWithinMs: config.expiredWithinMs,
    serviceRoles: config.serviceRoles,
    hasCatalogs: false,
    ...(revocation && { revoke: revocation.revoke }),
    revokeUpstream: config.revokeUpstream,
    canAsk: false,
    movesEnds: false,
    calls: { deadlineMs: config.calls.deadlineMs, ...nobodyAsked },
  };
  return { issuer, close: async () => revocation?.close() };
}

function keystoneIssuer(config: KeystoneIssuer, deps: AdapterDeps): OpenIssuer {
  const { clock, log, limits } = deps;
  const { login } = config;
  const upstream = createKeystone(
    {
      name: config.name,
      url: config.url,
      login:
        login.kind === 'password'
          ? {
              kind: 'password',
              user: { name: login.username, domain: { name: login.userDomain } },
              project: { name: login.project, domain: { name: login.projectDomain } },
              password: () => login.password.read(),
            }
          : { kind: 'application_credential', id: login.id, secret: () => login.secret.read() },
      ...tlsOf(config),
      deadlineMs: config.calls.deadlineMs,
      attempts: config.calls.attempts,
      maxBodyBytes: limits.upstreamBodyBytes,
    },
    { clock, log },
  );
  const { skewMs, leewayMs } = lifeOf(config, limits);
  const { fernetDir, jwsDir, pki } = config.keys;
  const format = createKeystoneFormat(
    { name: config.name, fernetDir, jwsDir, skewMs, leewayMs },
    { upstream, own: upstream.own, clock, log, pki: pki && createPkiReader({ name: config.name, ...pki, leewayMs }, { clock, log }) },
  );
  return {
    issuer: askedIssuer({ config, limits, upstream, format, expiredWithinMs: config.expiredWithinMs, movesEnds: false }),
    news: keystoneNews(config, upstream, deps),
    project: (id, signal) => upstream.project(id, signal),
    close: () => upstream.close(),
  };
}

function keystoneNews(config: KeystoneIssuer, upstream: Keystone, deps: AdapterDeps): NewsSource[] {
  const { clock, log, limits, caching, maxLagMs, sidecar, notes } = deps;
  const { name, news, maxTokenLifeMs, expiredWithinMs, skewMs } = config;
  const { timeMs, staleWhileDownMs } = caching.token;
  const reachMs = maxTokenLifeMs + expiredWithinMs + 2 * (skewMs + limits.skewMs);
  const sources: NewsSource[] = [];
  if (news.bus) {
    const { pool: poolName, ...bus } = news.bus;
    const shared = poolName === undefined ? undefined : deps.shared?.(name, 'bus');
    const own = (): string => busQueueName({ sidecar: sidecar.name, issuer: name, journal: sidecar.journalId });
    const pool = shared && { shared, journalId: sidecar.journalId };
    const queueName = pool === undefined || poolName === undefined ? own() : poolQueueName({ pool: poolName, issuer: name });
    sources.push(createKeystoneBus({ issuer: name, ...bus, queueName, maxLagMs }, { clock, log, pool }));
  }
  if (news.poll) {
    const poll = { issuer: name, ...news.poll, reachMs, factsLifeMs: timeMs + staleWhileDownMs };
    const list = upstream.revocationEvents;
    const shared = deps.shared && { poll: deps.shared(name, 'poll'), sweep: deps.shared(name, 'sweep') };
    sources.push(createRevocationEvents(poll, { clock, log, random: Math.random, list, notes, shared }));
  }
  return sources;
}

function introspectionIssuer(config: IntrospectionIssuer, { clock, log, limits }: AdapterDeps): OpenIssuer {
  const upstream = createIntrospection(
    {
      name: config.name,
      url: config.url,
      auth: authOf(config.auth),
      ...(config.revocation && { revocation: { url: config.revocation.url, auth: authOf(config.revocation.auth) } }),
      ...tlsOf(config),
      deadlineMs: config.calls.deadlineMs,
      attempts: config.calls.attempts,
      maxBodyBytes: limits.upstreamBodyBytes,
    },
    { clock, log },
  );
  const format = createOpaqueFormat(upstream);
  return { issuer: askedIssuer({ config, limits, upstream, format, expiredWithinMs: 0, movesEnds: true }), close: () => upstream.close() };
}

interface Asked {
  readonly config: KeystoneIssuer | IntrospectionIssuer;
  readonly limits: LimitsConfig;
  readonly upstream: Upstream;
  readonly format: TokenFormat;
  readonly expiredWithinMs: number;
  readonly movesEnds: boolean;
}

function askedIssuer({ config, limits, upstream, format, expiredWithinMs, movesEnds }: Asked): Issuer {
  const { name, accepts, prefix, endless, calls, serviceRoles, revokeUpstream } = config;
  const life = { ...lifeOf(config, limits), endless, needsIssueTime: false, audiences: [] };
  return {
    name,
    accepts,
    prefix,
    format,
    life,
    expiredWithinMs,
    serviceRoles,
    hasCatalogs: config.kind === 'keystone',
    ...(upstream.revoke && { revoke: upstream.revoke }),
    revokeUpstream,
    canAsk: true,
    movesEnds,
    calls,
  };
}

/** The skew of a rule is that between our hosts plus, as it speaks of an issuer's times, the issuer's. */
function lifeOf({ maxTokenLifeMs, skewMs }: IssuerConfig, limits: LimitsConfig): Pick<LifeRules, 'maxTokenLifeMs' | 'skewMs' | 'leewayMs'> {
  return { maxTokenLifeMs, skewMs: skewMs + limits.skewMs, leewayMs: skewMs };
}

function authOf({ kind, clientId, clientSecret }: ClientAuthConfig): ClientAuth {
  return { kind, clientId, secret: () => clientSecret.read() };
}

function tlsOf({ tls }: IssuerConfig): { caFile?: string; serverName?: string } {
  return {
    ...(tls.caFile ? { caFile: tls.caFile.path } : {}),
    ...(tls.serverName === undefined ? {} : { serverName: tls.serverName }),
  };
}
