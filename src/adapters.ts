// The catalogue: which file serves which kind of the configuration. A new one is one line here.

import type { CachingConfig, IntrospectionIssuer, IssuerConfig, JwtIssuer, KeystoneIssuer, LimitsConfig } from './config/types.ts';
import type { LifeRules } from './core/decision.ts';
import { createJwtFormat } from './formats/jwt.ts';
import { createOpaqueFormat } from './formats/opaque.ts';
import { openLevelJournal } from './journal/leveldb.ts';
import { createMemoryJournal } from './journal/memory.ts';
import type { Clock, Journal, Logger, Upstream } from './ports.ts';
import type { Issuer } from './service/issuer.ts';
import { createIntrospection } from './upstreams/introspection.ts';
import { createKeystone } from './upstreams/keystone.ts';

/** What adapters need of the world. */
export interface AdapterDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits: LimitsConfig;
  readonly caching: CachingConfig;
}

/** An issuer with whatever it holds open. */
export interface OpenIssuer {
  readonly issuer: Issuer;
  close(): Promise<void>;
}

/** The adapters of Sidegate; `createSidecar` takes others in their place. */
export interface Adapters {
  issuer(config: IssuerConfig, deps: AdapterDeps): OpenIssuer;
  journal(dir: string | undefined, deps: { readonly clock: Clock }): Promise<Journal>;
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
  journal: (dir, deps) => (dir === undefined ? Promise.resolve(createMemoryJournal(deps)) : openLevelJournal({ dir, ...deps })),
};

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
  const issuer: Issuer = {
    name: config.name,
    accepts: ['jwt'],
    jwtIssuer: config.issuer,
    format,
    life: { ...lifeOf(config, limits), endless: false, needsIssueTime: true, audiences: config.audiences },
    expiredWithinMs: config.expiredWithinMs,
    canAsk: false,
    movesEnds: false,
    calls: { deadlineMs: config.calls.deadlineMs, ...nobodyAsked },
  };
  return { issuer, close: async () => undefined };
}

function keystoneIssuer(config: KeystoneIssuer, { clock, log, limits }: AdapterDeps): OpenIssuer {
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
  return {
    issuer: askedIssuer({ config, limits, upstream, expiredWithinMs: config.expiredWithinMs, movesEnds: false }),
    close: () => upstream.close(),
  };
}

function introspectionIssuer(config: IntrospectionIssuer, { clock, log, limits }: AdapterDeps): OpenIssuer {
  const { auth } = config;
  const upstream = createIntrospection(
    {
      name: config.name,
      url: config.url,
      auth: { kind: auth.kind, clientId: auth.clientId, secret: () => auth.clientSecret.read() },
      ...tlsOf(config),
      deadlineMs: config.calls.deadlineMs,
      attempts: config.calls.attempts,
      maxBodyBytes: limits.upstreamBodyBytes,
    },
    { clock, log },
  );
  return { issuer: askedIssuer({ config, limits, upstream, expiredWithinMs: 0, movesEnds: true }), close: () => upstream.close() };
}

interface Asked {
  readonly config: KeystoneIssuer | IntrospectionIssuer;
  readonly limits: LimitsConfig;
  readonly upstream: Upstream;
  readonly expiredWithinMs: number;
  readonly movesEnds: boolean;
}

function askedIssuer({ config, limits, upstream, expiredWithinMs, movesEnds }: Asked): Issuer {
  const { name, accepts, prefix, endless, calls } = config;
  const life = { ...lifeOf(config, limits), endless, needsIssueTime: false, audiences: [] };
  return { name, accepts, prefix, format: createOpaqueFormat(upstream), life, expiredWithinMs, canAsk: true, movesEnds, calls };
}

/** The skew of a rule is that between our hosts plus, as it speaks of an issuer's times, the issuer's. */
function lifeOf({ maxTokenLifeMs, skewMs }: IssuerConfig, limits: LimitsConfig): Pick<LifeRules, 'maxTokenLifeMs' | 'skewMs' | 'leewayMs'> {
  return { maxTokenLifeMs, skewMs: skewMs + limits.skewMs, leewayMs: skewMs };
}

function tlsOf({ tls }: IssuerConfig): { caFile?: string; serverName?: string } {
  return {
    ...(tls.caFile ? { caFile: tls.caFile.path } : {}),
    ...(tls.serverName === undefined ? {} : { serverName: tls.serverName }),
  };
}
