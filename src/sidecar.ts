// The composition root: a configuration becomes a running sidecar. The only place that makes a real Clock.

import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Adapters, type OpenIssuer, adapters as ourAdapters } from './adapters.ts';
import { Background } from './background.ts';
import type { Config } from './config/types.ts';
import { SidecarError } from './core/errors.ts';
import { createTagger, type Tagger } from './core/tag.ts';
import { deploymentKeys } from './deployment-keys.ts';
import { createFlows, type Flows } from './flows.ts';
import { type Faces, formatAddress, openListeners } from './listeners.ts';
import { measure, observe } from './measures.ts';
import { Opened } from './opened.ts';
import { protoFile, readVersion } from './package.ts';
import type { Clock, Journal, SharedQuestion } from './ports.ts';
import { type Operations, startOperations } from './rpc/operations.ts';
import { Health, type ServerParts } from './rpc/server.ts';
import { statusOf } from './rpc/status.ts';
import { Callers } from './service/callers.ts';
import { Lending } from './service/fleet/lending.ts';
import { SharedQuestions } from './service/fleet/shared-questions.ts';
import { type Issuer, longestLifeMs } from './service/issuer.ts';
import { createTelemetry, type RunningTelemetry, type TelemetryOptions } from './telemetry.ts';

// What an adapter outside of this repository is written with. What is of the core itself is in `sidegate/core`.
export { type AdapterDeps, type Adapters, adapters, type OpenIssuer, type SharedCacheDeps } from './adapters.ts';
export { type ConfigSource, defaultConfig, formatProblems, type LoadedConfig, type LoadResult, loadConfig } from './config/load.ts';
export type {
  CachingConfig,
  Config,
  IntrospectionIssuer,
  IssuerConfig,
  JwtIssuer,
  KeystoneIssuer,
  LimitsConfig,
  SharedConfig,
} from './config/types.ts';
export type {
  AuditLine,
  Clock,
  ClockReading,
  DependencyHealth,
  Engine,
  Journal,
  Logger,
  LogLink,
  LogRecord,
  News,
  NewsInvalidation,
  NewsSink,
  NewsSource,
  Outbox,
  ProjectStanding,
  Reading,
  ReadOptions,
  SharedCache,
  SharedFinding,
  Telemetry,
  TokenFormat,
  Upstream,
} from './ports.ts';
export type { Issuer } from './service/issuer.ts';

/** What a sidecar is made of. */
export interface SidecarOptions {
  readonly config: Config;
  /** In place of ours: other formats, upstreams, journals. */
  readonly adapters?: Partial<Adapters>;
  /** Where log lines go; absent: standard output. */
  readonly destination?: TelemetryOptions['destination'];
  readonly clock?: Clock;
}

/** A sidecar that serves. */
export interface Running extends Faces {
  /** `host:port`. */
  readonly tcp: string | undefined;
  /** `host:port`, by mutual TLS. */
  readonly remote: string | undefined;
  /** `unix:///path`. */
  readonly socket: string | undefined;
  /** `host:port`. */
  readonly operations: string | undefined;
  /** Resolves when it has drained and everything is closed, or given up: nothing takes longer than its time. */
  readonly stopped: Promise<void>;
}

/** A sidecar that can be started, once. */
export interface Sidecar {
  /**
   * Serves until `signal` aborts, then drains. Resolves when Validate answers.
   * Throws FAILED_PRECONDITION or UNAVAILABLE, in words for the operator, where it cannot serve as configured, and CANCELLED
   * where `signal` has aborted and it still does not get there; nothing is left open then.
   */
  start(signal: AbortSignal): Promise<Running>;
}

/** Both clocks of this machine. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  delay: (ms, signal) => sleep(Math.min(ms, 2 ** 31 - 1), undefined, { signal }),
};

/** How long a start waits for the news to catch up before it serves without, in milliseconds. */
const longestCatchUpMs = 30_000;
const longestRetentionMs = 365 * 86_400_000;
/** How long a start that hangs is waited for when it is told to stop, in milliseconds. */
const longestStartMs = 5000;

/** Builds; does nothing before `start`. */
export function createSidecar(options: SidecarOptions): Sidecar {
  return {
    start: async (signal) => {
      const { config, clock = systemClock } = options;
      const telemetry = createTelemetry({
        level: config.logging.level,
        format: config.logging.format,
        auditFile: config.audit.file,
        version: readVersion(),
        clock,
        ...(options.destination ? { destination: options.destination } : {}),
      });
      const opened = new Opened(clock, telemetry.log);
      opened.keep(telemetry, 'telemetry', () => telemetry.close());
      try {
        const parts = { config, clock, telemetry, opened, adapters: { ...ourAdapters, ...options.adapters } };
        return await unlessItHangs(start(parts, signal), clock, signal);
      } catch (error) {
        await opened.close();
        throw error;
      }
    },
  };
}

interface Parts {
  readonly config: Config;
  readonly clock: Clock;
  readonly telemetry: RunningTelemetry;
  readonly adapters: Adapters;
  readonly opened: Opened;
}

/** How it is with this sidecar; what tells of it reads it when asked. */
interface State {
  readonly name: string;
  readonly startedAtMs: number;
  isServing: boolean;
}

/** In this order; it stops in the reverse one. */
async function start(parts: Parts, signal: AbortSignal): Promise<Running> {
  const { config, clock, telemetry, adapters, opened } = parts;
  const state: State = { name: config.name ?? hostname(), startedAtMs: clock.nowMs(), isServing: false };
  const background = new Background(telemetry.log);
  const draining = new AbortController();
  const health = new Health();

  const operations = await openOperations(parts, state, background);
  const keys = deploymentKeys(config.deploymentKeyDir, config.journal.dir);
  const tagger = createTagger(keys);
  const journal = await adapters.journal(config.journal.dir, { clock });
  opened.keep(journal, 'journal', () => journal.close());
  const questions = new SharedQuestions({ clock, skewMs: config.limits.skewMs, maxLagMs: config.maxLagMs });
  const open = openIssuers(parts, state.name, { journal, questions });
  const issuers = open.map(({ issuer }) => issuer);
  const shared = adapters.sharedCache(config.caching.shared, { clock, telemetry, keys });
  if (shared) opened.keep(shared, 'shared tier', () => shared.close());
  const news = open.map(({ issuer, news: sources = [], project }) => ({ issuer, sources, project }));
  const signals = { draining: draining.signal, stopping: background.stopping };
  const { name } = state;
  const retentionMs = logRetentionMs(config, issuers);
  const log = adapters.engine(config.fleet, { clock, log: telemetry.log, name, retentionMs, journalDir: config.journal.dir });
  const lending = new Lending({ engine: log, clock, telemetry, draining: draining.signal });
  const { engine } = lending;
  const flows = createFlows({
    config,
    clock,
    telemetry,
    keys,
    tagger,
    issuers,
    news,
    journal,
    shared,
    engine,
    retentionMs,
    name,
    questions,
    ...signals,
  });
  await flows.invalidations.load();
  await flows.forwarding.load();
  await flows.fleet?.load();
  opened.keep(background, 'background', () => background.close());
  runFlows(flows, background);
  const served = serverParts(parts, state, { flows, tagger, lending });
  const { socket, tcp, remote, ...faces } = await openListeners(parts, served, health);
  measure(flows, telemetry, clock);
  const tellHealth = (name: string, isWell: boolean): void => health.set(name, isWell);
  background.run('observe', (stopping) => observe(flows, { telemetry, clock, tellHealth }, stopping));
  if (isCaughtUp()) serve();
  else background.run('catch-up', (stopping) => serveOnceCaughtUp(stopping));
  return { socket, tcp, remote, operations, ...faces, stopped: untilDrained() };

  /** It answers already. Whether it is relied on waits for what the news have to tell of the time when it was not there (S13). */
  async function serveOnceCaughtUp(stopping: AbortSignal): Promise<void> {
    telemetry.log.info({ name, socket, tcp, remote, operations, ...faces }, 'answering; not serving before the news have caught up');
    const late = new AbortController();
    const leave = (): void => late.abort();
    for (const ending of [stopping, signal]) ending.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    const caughtUp = Promise.all([flows.news.caughtUp(late.signal), flows.fleet?.caughtUp(late.signal)]);
    await Promise.race([caughtUp, clock.delay(longestCatchUpMs, late.signal)]).catch(() => undefined);
    caughtUp.catch(() => undefined);
    const isEnding = late.signal.aborted;
    leave();
    if (isEnding) return;
    if (!isCaughtUp()) telemetry.log.warn({ name }, 'the news have not caught up: when_degraded says what is answered');
    serve();
  }

  function isCaughtUp(): boolean {
    return flows.news.isCaughtUp && flows.fleet?.isCaughtUp !== false;
  }

  function serve(): void {
    state.isServing = true;
    health.setServing(true);
    const names = issuers.map((issuer) => issuer.name);
    telemetry.log.info(
      { name, version: readVersion(), socket, tcp, remote, operations, ...faces, journal: journal.id, issuers: names },
      'serving',
    );
  }

  async function untilDrained(): Promise<void> {
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    telemetry.log.info({ name: state.name }, 'draining');
    state.isServing = false;
    health.setServing(false);
    draining.abort();
    await opened.close();
  }
}

/** First to open and last to close of all listeners: a journal may take its time to load, and a drain as well; meanwhile it lives. */
async function openOperations({ config, telemetry, opened }: Parts, state: State, background: Background): Promise<string | undefined> {
  if (!config.listen.operations) return undefined;
  const stop = new AbortController();
  const operations: Operations = await startOperations(
    {
      address: formatAddress(config.listen.operations),
      metrics: () => telemetry.metrics(),
      live: () => background.isSound,
      ready: () => state.isServing,
      log: telemetry.log,
    },
    stop.signal,
  );
  opened.keep(operations, 'operations', () => {
    stop.abort();
    return operations.closed;
  });
  return formatAddress({ host: operations.address, port: operations.port });
}

function openIssuers(
  { config, clock, telemetry, adapters, opened }: Parts,
  name: string,
  { journal, questions }: { readonly journal: Journal; readonly questions: SharedQuestions },
): readonly OpenIssuer[] {
  const { limits, caching, maxLagMs } = config;
  const sidecar = { name, journalId: journal.id };
  const shared = (issuer: string, source: string): SharedQuestion => questions.of(issuer, source);
  const deps = { clock, log: telemetry.log, limits, caching, maxLagMs, sidecar, notes: journal, shared };
  return config.issuers.map((one) => {
    const open = adapters.issuer(one, deps);
    return opened.keep(open, `issuer/${one.name}`, () => open.close());
  });
}

/** What runs beside the calls stops after them, not with the sidecar's signal: a draining sidecar still answers. */
function runFlows({ invalidations, issuers, forwarding, revoker, news, fleet }: Flows, background: Background): void {
  background.run('invalidations', (stopping) => invalidations.run(stopping));
  background.run('forwarding', (stopping) => forwarding.run(stopping));
  background.run('news', () => news.run());
  if (fleet) background.run('fleet', (stopping) => fleet.run(stopping));
  for (const { name, format } of issuers) {
    background.run(`issuer/${name}`, async (stopping) => {
      // A key has left its issuer's set: what it signed is verified again (S8).
      await format.run?.(stopping, async (keyId) => {
        await invalidations.announce(
          {
            effect: 'REFRESH',
            selector: { kind: 'fit', issuer: name, conditions: [{ dimension: 'signing_key', value: keyId }] },
            lifeMs: revoker.refreshLifeMs,
            origin: { source: `issuer/${name}`, event: 'key left the set', requestId: keyId },
          },
          stopping,
        );
      });
    });
  }
}

/** As long as the longest entry matters; of endless tokens nothing is forgotten, and no log keeps everything: a year. */
function logRetentionMs({ limits, caching }: Config, issuers: readonly Issuer[]): number {
  const entriesMs = Math.max(longestLifeMs(issuers), caching.catalog.timeMs) + limits.skewMs;
  return Math.min(entriesMs, longestRetentionMs);
}

interface Served {
  readonly flows: Flows;
  readonly tagger: Tagger;
  readonly lending: Lending;
}

function serverParts({ config, clock, telemetry }: Parts, state: State, { flows, tagger, lending }: Served): ServerParts {
  const { caching, limits } = config;
  const { name, startedAtMs } = state;
  const { validator, revoker, watchers, invalidations, facts, catalogs, finder, fleet } = flows;
  const memoryBytes = caching.memory.maxSizeBytes;
  return {
    service: {
      validator,
      revoker,
      watchers,
      invalidations,
      callers: new Callers(config.callers, validator, clock.nowMs),
      finder,
      fleet,
      facts,
      catalogs,
      handles: caching.enabled && caching.handles.enabled,
      tagger,
      telemetry,
      monotonicMs: clock.monotonicMs,
      name,
      status: () => statusOf({ ...flows, name, version: readVersion(), startedAtMs, serving: () => state.isServing, memoryBytes }),
    },
    lending,
    clock,
    telemetry,
    requestSizeBytes: limits.requestSizeBytes,
    callsInFlight: limits.callsInFlight,
    protoFile: protoFile(),
  };
}

/** As `starting`; given up where it is told to stop and does not get there: a journal may hang before anybody could be told. */
async function unlessItHangs(starting: Promise<Running>, clock: Clock, signal: AbortSignal): Promise<Running> {
  const settled = new AbortController();
  const hanging = new Promise<never>((_, reject) => {
    const giveUp = (): void => reject(new SidecarError('CANCELLED', 'it was to stop before it had started', { reason: 'STOPPED' }));
    // Only the settled start breaks off the delay.
    const wait = (): void => void clock.delay(longestStartMs, settled.signal).then(giveUp, () => undefined);
    if (signal.aborted) wait();
    else signal.addEventListener('abort', wait, { once: true, signal: settled.signal });
  });
  try {
    return await Promise.race([starting, hanging]);
  } finally {
    settled.abort();
  }
}
