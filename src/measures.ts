// What is measured of a running sidecar: gauges, and what has to be looked at now and then.

import type { Flows } from './flows.ts';
import type { Clock, DependencyHealth, Telemetry } from './ports.ts';
import { causeOf, degradedCauses, fleetSource } from './service/degradation.ts';
import type { Issuer } from './service/issuer.ts';
import type { RecipientStatus } from './service/telling/recipient.ts';

/** Binds the gauges: each is read when somebody scrapes. */
export function measure(flows: Flows, telemetry: Telemetry, clock: Clock): void {
  const { facts, catalogs, invalidations, degradations, watchers, issuers, forwarding } = flows;
  const { journal } = invalidations;
  bindRare(flows, telemetry);
  for (const tier of ['memory', 'unknown'] as const) telemetry.gauge('sidegate_cache_entries', { tier }, () => facts.entries(tier));
  telemetry.gauge('sidegate_cache_entries', { tier: 'catalog' }, () => catalogs.size);
  telemetry.gauge('sidegate_cache_bytes', { tier: 'memory' }, () => facts.bytes);
  telemetry.gauge('sidegate_cache_bytes', { tier: 'catalog' }, () => catalogs.bytes);
  telemetry.gauge('sidegate_journal_applied_revision', {}, () => invalidations.applied);
  telemetry.gauge('sidegate_journal_latest_revision', {}, () => journal.head());
  telemetry.gauge('sidegate_journal_entries', {}, () => journal.count());
  telemetry.gauge('sidegate_watchers', {}, () => watchers.count);
  for (const cause of degradedCauses) {
    const holds = (): boolean => degradations.all().some(({ reasons }) => reasons.some((reason) => causeOf(reason) === cause));
    telemetry.gauge('sidegate_degraded', { cause }, () => (holds() ? 1 : 0));
  }
  for (const issuer of issuers) {
    const labels = { issuer: issuer.name };
    telemetry.gauge('sidegate_flights', labels, () => facts.flightsTo(issuer.name));
    const outbox = (): RecipientStatus | undefined => forwarding.status().find(({ issuer: name }) => name === issuer.name);
    telemetry.gauge('sidegate_upstream_outbox', labels, () => outbox()?.pending ?? 0);
    telemetry.gauge('sidegate_upstream_outbox_oldest_seconds', labels, () => ageSeconds(outbox()?.oldestAtMs, clock));
    telemetry.gauge('sidegate_upstream_queue', labels, () => facts.queued(issuer.name));
    for (const { set, health } of keySetsOf(issuer)) {
      telemetry.gauge('sidegate_issuer_keys', { ...labels, set }, () => health().keyCount ?? 0);
      telemetry.gauge('sidegate_issuer_key_set_sound', { ...labels, set }, () => (health().reachable ? 1 : 0));
    }
  }
}

/**
 * What should never be counted, and wakes somebody when it is: such a counter is there from the start. One whose series begins with its
 * first count has not increased, as Prometheus sees it, and nobody would be told of the first.
 */
function bindRare({ issuers, fleet }: Flows, telemetry: Telemetry): void {
  for (const { name: issuer } of issuers) {
    telemetry.counter('sidegate_news_unannounced_total', { issuer });
    telemetry.counter('sidegate_refusals_forgotten_total', { issuer });
    telemetry.counter('sidegate_upstream_calls_total', { issuer, outcome: 'our_credential' });
  }
  if (fleet === undefined) return;
  for (const how of ['trimmed', 'anew']) telemetry.counter('sidegate_fleet_gaps_total', { how });
  for (const why of ['unauthenticated', 'unknown_key', 'other_version']) telemetry.counter('sidegate_fleet_ignored_total', { why });
}

/** What the only set of an issuer is called whose tokens nobody can be asked about. */
const onlySet = 'jwks';

/** The key sets that an issuer's tokens are read with, by their labels. */
function keySetsOf({ format, canAsk }: Issuer): readonly { readonly set: string; readonly health: () => DependencyHealth }[] {
  if (!format.keySets) return canAsk ? [] : [{ set: onlySet, health: () => format.health() }];
  const now = (set: string): DependencyHealth | undefined => format.keySets?.().find(({ name }) => name === set)?.health;
  return format.keySets().map(({ name: set, health }) => ({ set, health: () => now(set) ?? health }));
}

function ageSeconds(atMs: number | undefined, clock: Clock): number {
  return atMs === undefined ? 0 : Math.max(0, clock.nowMs() - atMs) / 1000;
}

/** Who looks, and whom it is told. */
export interface Observation {
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** By its name: whether an issuer can be reached, or a source of news is not behind; each second. The sidecar's own health never follows. */
  readonly tellHealth: (name: string, isWell: boolean) => void;
}

/**
 * Looks now and then at what cannot be read at once, until `signal` aborts: each issuer's health and key set, how current the news are,
 * the journal's size.
 */
export async function observe(
  { issuers, invalidations, degradations }: Flows,
  observation: Observation,
  signal: AbortSignal,
): Promise<void> {
  const { telemetry, clock, tellHealth } = observation;
  let bytes = Number.NaN;
  telemetry.gauge('sidegate_journal_bytes', {}, () => bytes);
  const told = new Set<string>();
  for (let turn = 0; !signal.aborted; turn += 1) {
    for (const issuer of issuers) {
      tellHealth(`issuer/${issuer.name}`, issuer.format.health().reachable);
      for (const { set, health } of keySetsOf(issuer)) {
        const { keySetDigest: digest } = health();
        if (digest === undefined || told.has(`${issuer.name} ${set} ${digest}`)) continue;
        told.add(`${issuer.name} ${set} ${digest}`);
        // Not a number: left out of the scrape, once the issuer has another set.
        const read = (): number => (health().keySetDigest === digest ? 1 : Number.NaN);
        telemetry.gauge('sidegate_issuer_key_set_info', { issuer: issuer.name, set, digest }, read);
      }
    }
    // That it is looked at is also what has a line told of lag that nobody has asked about.
    for (const { issuer, name, isBehind } of degradations.sources()) {
      tellHealth(name === fleetSource ? 'fleet' : `news/${issuer}/${name}`, !isBehind);
    }
    if (turn % 30 === 0) bytes = await invalidations.journal.sizeBytes().catch(() => Number.NaN);
    await clock.delay(1000, signal).catch(() => undefined);
  }
}
