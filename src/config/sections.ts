// How everything but the issuers is written, with its defaults and bounds, and what that means.

import * as z from 'zod';
import {
  address,
  choice,
  count,
  dnsName,
  duration,
  type Files,
  fileMode,
  flag,
  label,
  list,
  mapping,
  part,
  path,
  type Section,
  section,
  server,
  size,
  spiffeId,
  text,
} from './leaves.ts';
import { serverTls, serverTlsOf } from './server-tls.ts';
import type * as config from './types.ts';
import { parseAddress, parseDuration, parseServer, parseSize } from './units.ts';

/** `name`. */
export const nameSection: Section<string | undefined> = section(label().nullable().default(null), (it) => it ?? undefined);

/** `deployment_key_dir`. */
export const deploymentKeyDirSection: Section<string | undefined> = section(path().nullable().default(null), (it, files) =>
  it === null ? undefined : files.path(it),
);

/** `listen`. */
export const listenSection: Section<config.ListenConfig> = section(
  mapping({
    socket: mapping({
      path: path().default('/run/sidegate/sidegate.sock'),
      mode: fileMode().default('0660'),
      group: text(64).nullable().default(null),
    })
      .nullable()
      .prefault({}),
    tcp: address('loopback').nullable().default('127.0.0.1:8471'),
    remote: mapping({ address: address('any'), tls: mapping({ cert_file: path(), key_file: path(), client_ca_file: path() }) })
      .nullable()
      .default(null),
    operations: address('any').nullable().default('127.0.0.1:8472'),
    keystone: mapping({ address: address('loopback'), allow_expired: flag().default(true) })
      .nullable()
      .default(null),
    introspection: address('loopback').nullable().default(null),
  }).prefault({}),
  ({ socket, tcp, remote, operations, keystone, introspection }, files) => ({
    socket:
      socket === null
        ? undefined
        : { path: files.path(socket.path), mode: Number.parseInt(socket.mode, 8), group: socket.group ?? undefined },
    tcp: tcp === null ? undefined : parseAddress(tcp),
    remote: remote === null ? undefined : remoteOf(parseAddress(remote.address), remote.tls, files),
    operations: operations === null ? undefined : parseAddress(operations),
    keystone: keystone === null ? undefined : faceOf(parseAddress(keystone.address), keystone.allow_expired),
    introspection: introspection === null ? undefined : parseAddress(introspection),
  }),
);

function faceOf(address: config.Address | undefined, allowExpired: boolean): config.ListenConfig['keystone'] {
  return address && { address, allowExpired };
}

function remoteOf(
  address: config.Address | undefined,
  tls: { readonly cert_file: string; readonly key_file: string; readonly client_ca_file: string },
  files: Files,
): config.RemoteConfig | undefined {
  const { cert_file: cert, key_file: key, client_ca_file: clientCa } = tls;
  return address && { address, tls: { certFile: files.secret(cert), keyFile: files.secret(key), clientCaFile: files.secret(clientCa) } };
}

const yes = z.literal(true, { error: 'must be true' });

const caller = mapping({
  who: mapping({
    local: yes.optional(),
    socket: yes.optional(),
    token_role: text(255).optional(),
    issuer: label().optional(),
    spiffe_id: spiffeId().optional(),
    certificate_name: dnsName().optional(),
  }).refine(
    (who) =>
      [who.local, who.socket, who.token_role, who.spiffe_id, who.certificate_name].filter((it) => it !== undefined).length === 1 &&
      (who.token_role === undefined) === (who.issuer === undefined),
    { error: 'must be { local: true }, { socket: true }, { token_role: …, issuer: … }, { spiffe_id: … } or { certificate_name: … }' },
  ),
  may: list(choice(['validate', 'watch', 'status', 'revoke', 'refresh', 'find', 'details', 'fleet']), { min: 1, max: 8 }),
});

/** One of `callers`. */
export const callerSection: Section<config.CallerRule> = section(caller, callerOf);

/** `callers`. */
export const callersSection: Section<readonly config.CallerRule[]> = section(
  list(caller, { min: 0, max: 256 }).default([{ who: { local: true }, may: ['validate', 'watch', 'status'] }]),
  (them) => them.map(callerOf),
);

function callerOf({ who, may }: z.output<typeof caller>): config.CallerRule {
  if (who.token_role !== undefined) return { who: { kind: 'token-role', role: who.token_role, issuer: who.issuer ?? '' }, may };
  if (who.spiffe_id !== undefined) return { who: { kind: 'spiffe-id', id: who.spiffe_id }, may };
  if (who.certificate_name !== undefined) return { who: { kind: 'certificate-name', name: who.certificate_name.toLowerCase() }, may };
  return { who: { kind: who.local ? 'local' : 'socket' }, may };
}

/** `caching`, where `token.time` may still be "token". */
export const cachingSection: Section<config.CachingConfig> = section(
  mapping({
    enabled: flag().default(true),
    settle: duration('0s', '60s').default('2s'),
    wide_window: duration('0s', '1h').default('30s'),
    memory: mapping({ max_size: size('1MiB', '64GiB').default('64MiB') }).prefault({}),
    shared: mapping({
      servers: list(server(), { min: 0, max: 256 }).default([]),
      tls: serverTls().nullable().default(null),
      deadline: duration('1ms', '5s').default('20ms'),
      breaker: mapping({ failures: count(1, 1000).default(3), retry_after: duration('10ms', '5m').default('1s') }).prefault({}),
    }).prefault({}),
    token: mapping({
      enabled: flag().default(true),
      // As [token] cache_time of Keystone.
      time: z.union([z.literal('token'), duration('1s', '24h')], { error: 'must be token, or a duration from 1s to 24h' }).default('300s'),
      jitter: part(0, 0.5).default(0.1),
      refresh_ahead: part(0.1, 1).default(0.8),
      stale_while_down: duration('0s', '24h').default('0s'),
    }).prefault({}),
    catalog: mapping({ enabled: flag().default(true), time: duration('1s', '24h').default('10m') }).prefault({}),
    keys: mapping({
      time: duration('1s', '24h').default('10m'),
      cooldown: duration('100ms', '1h').default('30s'),
      stale_while_down: duration('0s', '720h').default('24h'),
    }).prefault({}),
    unknown: mapping({
      enabled: flag().default(true),
      time: duration('100ms', '10m').default('5s'),
      max_entries: count(1, 10_000_000).default(10_000),
    }).prefault({}),
    handles: mapping({ enabled: flag().default(false) }).prefault({}),
  }).prefault({}),
  ({ enabled, settle, wide_window: wideWindow, memory, shared, token, catalog, keys, unknown, handles }, files) => ({
    enabled,
    settleMs: parseDuration(settle),
    wideWindowMs: parseDuration(wideWindow),
    memory: { maxSizeBytes: parseSize(memory.max_size) },
    shared: {
      servers: shared.servers.flatMap((it) => parseServer(it) ?? []),
      tls: shared.tls === null ? undefined : serverTlsOf(shared.tls, files),
      deadlineMs: parseDuration(shared.deadline),
      breaker: { failures: shared.breaker.failures, retryAfterMs: parseDuration(shared.breaker.retry_after) },
    },
    token: {
      enabled: token.enabled,
      timeMs: token.time === 'token' ? Infinity : parseDuration(token.time),
      jitter: token.jitter,
      refreshAhead: token.refresh_ahead,
      staleWhileDownMs: parseDuration(token.stale_while_down),
    },
    catalog: { enabled: catalog.enabled, timeMs: parseDuration(catalog.time) },
    keys: {
      timeMs: parseDuration(keys.time),
      cooldownMs: parseDuration(keys.cooldown),
      staleWhileDownMs: parseDuration(keys.stale_while_down),
    },
    unknown: { enabled: unknown.enabled, timeMs: parseDuration(unknown.time), maxEntries: unknown.max_entries },
    handles,
  }),
);

/** `journal`. */
export const journalSection: Section<config.JournalConfig> = section(
  mapping({ dir: path().nullable().default('/var/lib/sidegate') }).prefault({}),
  ({ dir }, files) => ({ dir: dir === null ? undefined : files.path(dir) }),
);

/** `max_lag`. */
export const maxLagSection: Section<number> = section(duration('300ms', '10m').default('10s'), parseDuration);

/** `when_degraded`. */
export const whenDegradedSection: Section<config.DegradedPolicy> = section(
  choice(['refuse', 'revalidate', 'serve_marked']).default('revalidate'),
  (it) => (it === 'serve_marked' ? 'serve-marked' : it),
);

/** `watch`. */
export const watchSection: Section<config.WatchConfig> = section(
  mapping({
    checkpoint_interval: duration('100ms', '60s').default('1s'),
    max_watchers: count(1, 100_000).default(1024),
    // About 2 kB each. Who is further behind is sent what the journal has.
    ring: count(16, 1_048_576).default(8_192),
  }).prefault({}),
  (it) => ({ checkpointIntervalMs: parseDuration(it.checkpoint_interval), maxWatchers: it.max_watchers, ring: it.ring }),
);

/** `limits`. */
export const limitsSection: Section<config.LimitsConfig> = section(
  mapping({
    // Keystone PKI tokens with a catalog reach 20 kB.
    token_size: size('1KiB', '1MiB').default('64KiB'),
    request_size: size('4KiB', '64MiB').default('1MiB'),
    calls_in_flight: count(1, 1_000_000).default(4096),
    skew: duration('0s', '60s').default('2s'),
    freshness_wait: duration('0s', '60s').default('1s'),
    upstream_body: size('1KiB', '256MiB').default('8MiB'),
    unverified_revokes: count(0, 100_000).default(10),
  }).prefault({}),
  (it) => ({
    tokenSizeBytes: parseSize(it.token_size),
    requestSizeBytes: parseSize(it.request_size),
    callsInFlight: it.calls_in_flight,
    skewMs: parseDuration(it.skew),
    freshnessWaitMs: parseDuration(it.freshness_wait),
    upstreamBodyBytes: parseSize(it.upstream_body),
    unverifiedRevokes: it.unverified_revokes,
  }),
);

/** `audit`. */
export const auditSection: Section<config.AuditConfig> = section(
  mapping({ file: path().nullable().default(null) }).prefault({}),
  ({ file }, files) => ({ file: file === null ? undefined : files.path(file) }),
);

/** `logging`. */
export const loggingSection: Section<config.LoggingConfig> = section(
  mapping({
    level: choice(['debug', 'info', 'warn', 'error']).default('info'),
    format: choice(['json', 'pretty']).default('json'),
  }).prefault({}),
  (it) => it,
);

/** `shutdown`. */
export const shutdownSection: Section<config.ShutdownConfig> = section(
  mapping({ drain: duration('0s', '10m').default('5s') }).prefault({}),
  ({ drain }) => ({ drainMs: parseDuration(drain) }),
);
