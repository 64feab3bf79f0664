// The composition root: a configuration becomes a running sidecar. The only place that holds the clocks.

import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Adapters, type OpenIssuer, adapters as ourAdapters } from './adapters.ts';
import type { Address, Config } from './config/types.ts';
import { createTagger } from './core/tag.ts';
import { deploymentKeys } from './deployment-keys.ts';
import { protoFile, readVersion } from './package.ts';
import type { Clock, Journal } from './ports.ts';
import { type Operations, startOperations } from './rpc/operations.ts';
import { Health, type Listener, listen, type ServerParts } from './rpc/server.ts';
import { statusOf } from './rpc/status.ts';
import { Callers } from './service/callers.ts';
import { Degradations, degradedReasons } from './service/degradation.ts';
import { FactsStore } from './service/facts.ts';
import { Invalidations } from './service/invalidations.ts';
import { type Issuer, longestLifeMs } from './service/issuer.ts';
import { Revoker } from './service/revoker.ts';
import { Validator } from './service/validator.ts';
import { Watchers } from './service/watch.ts';
import { createTelemetry, type RunningTelemetry, type TelemetryOptions } from './telemetry.ts';
import { tokenCodec } from './wire/token-codec.ts';

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
export interface Running {
  /** `host:port`. */
  readonly tcp: string | undefined;
  /** `unix:///path`. */
  readonly socket: string | undefined;
  /** `host:port`. */
  readonly operations: string | undefined;
  /** Resolves when it has drained and everything is closed. */
  readonly stopped: Promise<void>;
}

/** A sidecar that can be started, once. */
export interface Sidecar {
  /**
   * Serves until `signal` aborts, then drains. Resolves when Validate answers.
   * Throws FAILED_PRECONDITION or UNAVAILABLE, in words for the operator, where it cannot serve as configured; nothing is left open then.
   */
  start(signal: AbortSignal): Promise<Running>;
}

/** Both clocks of this machine. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  delay: (ms, signal) => sleep(Math.min(ms, 2 ** 31 - 1), undefined, { signal }),
};

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
      const opened: (() => Promise<void>)[] = [() => telemetry.close()];
      try {
        return await start({ config, clock, telemetry, adapters: { ...ourAdapters, ...options.adapters }, opened }, signal);
      } catch (error) {
        await closeAll(opened, telemetry);
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
  /** How to close what is open, in the order of opening. */
  readonly opened: (() => Promise<void>)[];
}

async function start({ config, clock, telemetry, adapters, opened }: Parts, signal: AbortSignal): Promise<Running> {
  const { caching, limits } = config;
  const startedAtMs = clock.nowMs();
  const name = config.name ?? hostname();
  const version = readVersion();
  const keep = <Value>(value: Value, close: () => Promise<void>): Value => {
    opened.push(close);
    return value;
  };

  const tagger = createTagger(deploymentKeys(config.deploymentKeyDir, config.journal.dir));
  const openIssuers = config.issuers.map((one): OpenIssuer => {
    const open = adapters.issuer(one, { clock, log: telemetry.log, limits, caching });
    return keep(open, () => open.close());
  });
  const issuers = openIssuers.map((open) => open.issuer);
  const journal: Journal = await adapters.journal(config.journal.dir, { clock });
  keep(journal, () => journal.close());

  const caches = caching.enabled && caching.token.enabled;
  const factsTimeMs = Number.isFinite(caching.token.timeMs) ? caching.token.timeMs : longestLifeMs(issuers);
  const degradations = new Degradations();
  const invalidations = new Invalidations({
    journal,
    tagger,
    clock,
    telemetry,
    settleMs: caching.settleMs,
    factsLifeMs: factsTimeMs + limits.skewMs,
    ring: config.watch.ring,
  });
  const facts = new FactsStore({
    issuers,
    invalidations,
    tagger,
    codec: tokenCodec,
    clock,
    telemetry,
    degradations,
    random: Math.random,
    limits: {
      enabled: caches,
      timeMs: caching.token.timeMs,
      jitter: caching.token.jitter,
      memoryBytes: caching.memory.maxSizeBytes,
      refusals: { ...caching.unknown, enabled: caching.enabled && caching.unknown.enabled },
    },
  });
  const validator = new Validator({
    issuers,
    facts,
    invalidations,
    degradations,
    clock,
    telemetry,
    tokenSizeBytes: limits.tokenSizeBytes,
    settleMs: caching.settleMs,
    freshnessWaitMs: limits.freshnessWaitMs,
    caching: caches,
  });
  const revoker = new Revoker({
    issuers,
    facts,
    invalidations,
    tagger,
    clock,
    telemetry,
    skewMs: limits.skewMs,
    factsTimeMs,
    tokenSizeBytes: limits.tokenSizeBytes,
    unverified: { perSecond: limits.unverifiedRevokes, alive: 100_000 },
  });
  const draining = new AbortController();
  const watchers = new Watchers({
    invalidations,
    degradations,
    clock,
    telemetry,
    checkpointIntervalMs: config.watch.checkpointIntervalMs,
    proofLifetimeMs: config.maxLagMs,
    maxWatchers: config.watch.maxWatchers,
    draining: draining.signal,
  });

  let serving = false;
  // First to open and last to close of all listeners: a journal may take its time to load, and a drain as well; meanwhile it lives.
  const operations = config.listen.operations && (await openOperations(config.listen.operations, () => serving));

  // What runs beside the calls stops after them, not with `signal`: a draining sidecar still answers.
  const background = new AbortController();
  // As many listen as there are issuers and waits: node would call more than ten a leak.
  setMaxListeners(0, background.signal);
  const running: Promise<void>[] = [];
  await invalidations.load();
  running.push(invalidations.run(background.signal));
  for (const issuer of issuers) {
    const stale = (keyId: string): Promise<void> => refreshKey(invalidations, issuer, keyId, revoker.refreshLifeMs, background.signal);
    if (issuer.format.run) running.push(issuer.format.run(background.signal, stale));
  }
  keep(background, async () => {
    background.abort();
    await Promise.allSettled(running);
  });

  const health = new Health();
  const status = (): ReturnType<typeof statusOf> =>
    statusOf({
      name,
      version,
      startedAtMs,
      serving: () => serving,
      issuers,
      facts,
      validator,
      invalidations,
      degradations,
      watchers,
      memoryBytes: caching.memory.maxSizeBytes,
    });
  const serverParts: ServerParts = {
    service: {
      validator,
      revoker,
      watchers,
      invalidations,
      callers: new Callers(config.callers, validator),
      tagger,
      telemetry,
      monotonicMs: clock.monotonicMs,
      name,
      status,
    },
    clock,
    telemetry,
    requestSizeBytes: limits.requestSizeBytes,
    callsInFlight: limits.callsInFlight,
    protoFile: protoFile(),
  };
  const listeners: Listener[] = [];
  const { drainMs } = config.shutdown;
  keep(listeners, async () => {
    await Promise.all(listeners.map((listener) => listener.close(drainMs)));
  });
  const { socket, tcp } = config.listen;
  if (socket) listeners.push(await listen({ kind: 'socket', ...socket }, serverParts, health));
  if (tcp) listeners.push(await listen({ kind: 'tcp', ...tcp }, serverParts, health));

  async function openOperations(address: Address, ready: () => boolean): Promise<Operations> {
    const host = address.host.includes(':') ? `[${address.host}]` : address.host;
    const stop = new AbortController();
    const made = await startOperations(
      { address: `${host}:${address.port}`, metrics: () => telemetry.metrics(), live: () => true, ready, log: telemetry.log },
      stop.signal,
    );
    return keep(made, async () => {
      stop.abort();
      await made.closed;
    });
  }

  const measured = { telemetry, facts, invalidations, degradations, watchers, issuers };
  measure(measured);
  serving = true;
  health.setServing(true);
  running.push(observe(measured, health, clock, background.signal));
  const named = (prefix: string): string | undefined =>
    listeners.find((listener) => listener.address.startsWith('unix:') === (prefix === 'unix:'))?.address;
  const addresses = {
    socket: named('unix:'),
    tcp: named('tcp'),
    operations: operations && `${operations.address}:${operations.port}`,
  };
  telemetry.log.info({ name, version, ...addresses, journal: journal.id, issuers: issuers.map((issuer) => issuer.name) }, 'serving');

  const stopped = new Promise<void>((resolve) => {
    const stop = (): void => {
      telemetry.log.info({ name }, 'draining');
      serving = false;
      health.setServing(false);
      draining.abort();
      void closeAll(opened, telemetry).then(resolve);
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  return { ...addresses, stopped };
}

/** A key has left its issuer's set: what it signed is verified again (S8). */
async function refreshKey(invalidations: Invalidations, issuer: Issuer, keyId: string, lifeMs: number, signal: AbortSignal): Promise<void> {
  await invalidations.announce(
    {
      effect: 'REFRESH',
      selector: { kind: 'fit', issuer: issuer.name, conditions: [{ dimension: 'signing_key', value: keyId }] },
      lifeMs,
      origin: { source: `issuer/${issuer.name}`, event: 'key left the set', requestId: keyId },
    },
    signal,
  );
}

interface Measured {
  readonly telemetry: RunningTelemetry;
  readonly facts: FactsStore;
  readonly invalidations: Invalidations;
  readonly degradations: Degradations;
  readonly watchers: Watchers;
  readonly issuers: readonly Issuer[];
}

function measure({ telemetry, facts, invalidations, degradations, watchers, issuers }: Measured): void {
  const { journal } = invalidations;
  for (const tier of ['memory', 'unknown'] as const) telemetry.gauge('sidegate_cache_entries', { tier }, () => facts.entries(tier));
  telemetry.gauge('sidegate_cache_bytes', { tier: 'memory' }, () => facts.bytes);
  telemetry.gauge('sidegate_journal_applied_revision', {}, () => invalidations.applied);
  telemetry.gauge('sidegate_journal_latest_revision', {}, () => journal.head());
  telemetry.gauge('sidegate_journal_entries', {}, () => journal.count());
  telemetry.gauge('sidegate_watchers', {}, () => watchers.count);
  for (const cause of degradedReasons) {
    telemetry.gauge('sidegate_degraded', { cause }, () => (degradations.all().some((one) => one.reasons.includes(cause)) ? 1 : 0));
  }
  for (const issuer of issuers) {
    const labels = { issuer: issuer.name };
    telemetry.gauge('sidegate_flights', labels, () => facts.flightsTo(issuer.name));
    telemetry.gauge('sidegate_upstream_queue', labels, () => facts.queued(issuer.name));
    telemetry.gauge('sidegate_issuer_keys', labels, () => issuer.format.health().keyCount ?? 0);
  }
}

/** Looks now and then at what cannot be read at once: each issuer's health and key set, the journal's size. The sidecar's own health never follows them. */
async function observe({ telemetry, invalidations, issuers }: Measured, health: Health, clock: Clock, signal: AbortSignal): Promise<void> {
  let bytes = Number.NaN;
  telemetry.gauge('sidegate_journal_bytes', {}, () => bytes);
  const told = new Set<string>();
  for (let turn = 0; !signal.aborted; turn += 1) {
    for (const issuer of issuers) {
      const { reachable, keySetDigest: digest } = issuer.format.health();
      health.set(`issuer/${issuer.name}`, reachable);
      if (digest === undefined || told.has(`${issuer.name} ${digest}`)) continue;
      told.add(`${issuer.name} ${digest}`);
      // Not a number: left out of the scrape, once the issuer has another set.
      telemetry.gauge('sidegate_issuer_key_set_info', { issuer: issuer.name, digest }, () =>
        issuer.format.health().keySetDigest === digest ? 1 : Number.NaN,
      );
    }
    if (turn % 30 === 0) bytes = await invalidations.journal.sizeBytes().catch(() => Number.NaN);
    await clock.delay(1000, signal).catch(() => undefined);
  }
}

/** In the reverse order of opening; one that fails does not keep the others open. */
async function closeAll(opened: (() => Promise<void>)[], telemetry: RunningTelemetry): Promise<void> {
  for (const close of opened.splice(0).reverse()) {
    try {
      await close();
    } catch (error) {
      telemetry.log.error({ error }, 'something could not be closed');
    }
  }
}
