// The closed table of metrics: names, help, kinds, labels and buckets.

import type { Labels } from '../ports.ts';

/** What one metric is. */
export interface MetricShape {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** The names of its labels, all of which every binding gives. */
  readonly labels: readonly string[];
  /** Histograms only: inclusive upper bounds, ascending, without infinity. */
  readonly bounds?: readonly number[];
}

const counter = (help: string, ...labels: string[]): MetricShape => ({ kind: 'counter', help, labels });
const gauge = (help: string, ...labels: string[]): MetricShape => ({ kind: 'gauge', help, labels });
const histogram = (bounds: readonly number[], help: string, ...labels: string[]): MetricShape => ({
  kind: 'histogram',
  help,
  labels,
  bounds,
});

// Three scales, in seconds. A hit takes tens of microseconds and an authority up to its deadline of 5 s, and one histogram holds
// both: hence the wide one. The middle one is for what waits for a disk or for the loop, the third for what waits for an authority.
const callBounds = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;
const localBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5] as const;
const authorityBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;
// News: a message takes milliseconds, a poll its interval, a look two settle windows.
const newsBounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;
const revisionBounds = [0, 1, 10, 100, 1_000, 10_000, 65_536] as const;

/**
 * Every metric there is. Seconds and bytes. `issuer`, `source` and `tier` are names of the configuration, everything else comes from
 * closed lists; never an id, a user or a token.
 */
export const metricTable: Readonly<Record<string, MetricShape>> = {
  sidegate_build_info: gauge('1; what runs here.', 'version', 'node'),
  sidegate_validate_total: counter(
    'Answers to Validate; result is active, inactive or no_answer, reason says why not.',
    'issuer',
    'result',
    'reason',
  ),
  sidegate_validate_duration_seconds: histogram(callBounds, 'Time of a Validate, by where the facts came from.', 'provenance'),
  sidegate_cache_lookups_total: counter(
    'Lookups; tiers memory, shared and catalog: outcome is hit, miss or stale, of shared also error or unreadable; tier unknown (refusals): hit only.',
    'tier',
    'outcome',
  ),
  sidegate_cache_bytes: gauge('Bytes held.', 'tier'),
  sidegate_cache_entries: gauge('Entries held.', 'tier'),
  sidegate_cache_evictions_total: counter('Entries dropped for want of room.', 'tier'),
  sidegate_shared_server_up: gauge('1 while a server of the shared tier is asked; 0 while its breaker is open.', 'server'),
  sidegate_shared_duration_seconds: histogram(localBounds, 'Time of a request to the shared tier.', 'server', 'operation'),
  sidegate_leases_total: counter(
    'Leases on a fetch; outcome is won, waited (another sidecar fetched) or lost (nobody did in time).',
    'outcome',
  ),
  sidegate_refreshed_ahead_total: counter('Facts of hot tokens that were confirmed again before their time was over.', 'issuer'),
  sidegate_flights: gauge('Fetches of facts now running.', 'issuer'),
  sidegate_flight_waiters_total: counter('Calls that joined a running fetch instead of starting one.', 'issuer'),
  sidegate_upstream_duration_seconds: histogram(authorityBounds, 'Time of a call to the authority.', 'issuer', 'outcome'),
  sidegate_upstream_calls_total: counter(
    'Calls to the authority; outcome is good, bad, our_credential, error, timeout or shed.',
    'issuer',
    'outcome',
  ),
  sidegate_upstream_outbox: gauge('What waits to be told to the authority, or learned from it.', 'issuer'),
  sidegate_upstream_outbox_oldest_seconds: gauge('Age of the oldest of them; 0 where there is none.', 'issuer'),
  sidegate_upstream_forwarded_total: counter(
    'Revocations told to the authority; outcome is accepted, rejected, expired (the token ended first) or error (tried again).',
    'issuer',
    'outcome',
  ),
  sidegate_upstream_queue: gauge('Calls that wait for their turn at the authority.', 'issuer'),
  sidegate_issuer_keys: gauge('Keys in the set in use; set is jwks, fernet, jws or pki.', 'issuer', 'set'),
  sidegate_issuer_key_set_info: gauge('1; the digest of the key set in use, to compare sidecars.', 'issuer', 'set', 'digest'),
  sidegate_issuer_key_set_sound: gauge(
    '1 while the key set can be had; of keys at hand, while tokens are read with them: 0 out of step with their authority.',
    'issuer',
    'set',
  ),
  sidegate_news_last_alive_timestamp_seconds: gauge(
    'Everything that a source of news had until then has come here. Its issuer and its name, as in central/bus.',
    'source',
  ),
  sidegate_news_delay_seconds: histogram(
    newsBounds,
    'From a happening at the issuer, by its clock, until decisions know it; of what happened since the source had caught up.',
    'source',
  ),
  sidegate_news_ignored_total: counter(
    'What a source told that means nothing here; why is unreadable, duplicate or irrelevant.',
    'source',
    'why',
  ),
  sidegate_news_pool_reader: gauge('1 while this sidecar reads the queue that a pool shares, for all of it.', 'issuer'),
  sidegate_news_gaps_total: counter('Times that a source may have missed something.', 'source'),
  sidegate_news_looks_total: counter(
    'Looks for what another source alone names; outcome is named, nobody or failed (it was not answered).',
    'issuer',
    'outcome',
  ),
  sidegate_news_unannounced_total: counter('What the poll has told and the bus should have told, and has not.', 'issuer'),
  sidegate_invalidations_total: counter('Entries applied; effect is revoke or refresh.', 'source', 'effect'),
  sidegate_invalidations_widened_total: counter('Entries that concern more than they say, as too many of unusual forms are live.'),
  sidegate_journal_applied_revision: gauge('The newest revision that decisions know.'),
  sidegate_journal_latest_revision: gauge('The newest durable revision.'),
  sidegate_journal_failed: gauge('1 when a write has failed: no Revoke is acknowledged any more.'),
  sidegate_journal_entries: gauge('Live entries; compaction keeps this down.'),
  sidegate_journal_bytes: gauge('Size on disk, about.'),
  sidegate_journal_append_duration_seconds: histogram(localBounds, 'Time until an entry is durable.'),
  sidegate_revoke_applied_seconds: histogram(localBounds, 'From the arrival of a Revoke or Refresh until decisions know it.'),
  sidegate_fleet_members: gauge('Other sidecars of the fleet that are there.'),
  sidegate_fleet_followers: gauge('Sidecars that read the log of the fleet through this one.'),
  sidegate_fleet_outbox: gauge('Entries that wait to be told to the fleet.'),
  sidegate_fleet_outbox_oldest_seconds: gauge('Age of the oldest of them.'),
  sidegate_fleet_ignored_total: counter(
    'Records of the log that mean nothing here; why is unauthenticated, unknown_key or other_version.',
    'why',
  ),
  sidegate_fleet_gaps_total: counter('How often the log was not what it was; how is trimmed or anew.', 'how'),
  sidegate_degraded: gauge('1 while degraded for this cause. The one that pages.', 'cause'),
  sidegate_watchers: gauge('Open Watch streams.'),
  sidegate_watch_resets_total: counter('Resets sent to watchers.', 'reason'),
  sidegate_watch_lag_revisions: histogram(revisionBounds, 'How far a watcher was behind when it was served.'),
  sidegate_calls_rejected_total: counter('Calls that were not served; why is limit, unauthorised or malformed.', 'why'),
  sidegate_refusals_forgotten_total: counter('Refusals not remembered, as too many came at once (S9).', 'issuer'),
  sidegate_event_loop_delay_seconds: histogram(localBounds, 'How late the event loop was, sampled every 10 ms.'),
  rpc_server_call_duration_seconds: histogram(callBounds, 'Time of a call, by method and status.', 'rpc_method', 'rpc_status_code'),
};

/**
 * The shape of the metric `name`, for a binding as `kind` with `labels`.
 * Throws TypeError when the table has no such metric, has it as another kind, or with other labels: an error in our own code.
 */
export function shapeOf(kind: MetricShape['kind'], name: string, labels: Labels): MetricShape {
  const shape = Object.hasOwn(metricTable, name) ? metricTable[name] : undefined;
  if (shape === undefined) throw new TypeError(`no metric is called ${name}: src/telemetry/metric-table.ts has them all`);
  if (shape.kind !== kind) throw new TypeError(`${name} is a ${shape.kind}, not a ${kind}`);
  const given = Object.keys(labels).sort().join(', ');
  const wanted = shape.labels.toSorted().join(', ');
  if (given !== wanted) throw new TypeError(`${name} has the labels (${wanted}), not (${given})`);
  return shape;
}
