// Answers of the client as the JSON mapping of the API's messages: names in lowerCamelCase, 64-bit numbers as strings, enums by full name.

import type {
  Answer,
  Cursor,
  FleetStatus,
  Forwarding,
  Invalidated,
  Invalidation,
  Reach,
  Revoked,
  SelectorFields,
  SourceStatus,
  Status,
  Token,
  WatchEvent,
} from '../client/index.ts';

/** ValidateResponse. `active` and `degraded` are always there. */
export function answerJson(answer: Answer): object {
  return {
    active: answer.active,
    ...(answer.active ? {} : { reason: `INACTIVE_REASON_${answer.reason === 'UNKNOWN' ? 'UNSPECIFIED' : answer.reason}` }),
    ...(answer.token ? { token: tokenJson(answer.token) } : {}),
    ...(answer.service ? { service: tokenJson(answer.service) } : {}),
    fingerprint: answer.fingerprint,
    ...(answer.active && answer.handle !== undefined ? { handle: answer.handle } : {}),
    ...(!answer.active && answer.revokedBy ? { revokedBy: invalidationJson(answer.revokedBy) } : {}),
    ...cursorJson('asOf', answer.asOf),
    ...(answer.active ? { maxAge: durationJson(answer.maxAgeMs) } : {}),
    ...(answer.tags ? { tags: answer.tags.map(String) } : {}),
    ...timeJson('confirmedAt', answer.confirmedAtMs),
    provenance: `PROVENANCE_${answer.provenance === 'unknown' ? 'UNSPECIFIED' : answer.provenance.toUpperCase()}`,
    degraded: answer.degraded,
    ...(answer.degradedBy.length > 0 ? { degradedBy: answer.degradedBy } : {}),
  };
}

/** FindTokenResponse. */
export function foundJson(found: Answer | undefined): object {
  return found ? { found: answerJson(found) } : {};
}

/** RevokeResponse or RefreshResponse. */
export function invalidatedJson(invalidated: Invalidated | Revoked): object {
  const { asOf, entryId, reach, reachedAtMs } = invalidated;
  const forwarding = 'forwarding' in invalidated ? invalidated.forwarding : undefined;
  const lagging = 'laggingSidecars' in invalidated ? invalidated.laggingSidecars : [];
  return {
    ...cursorJson('asOf', asOf),
    reach: reachNames[reach],
    ...(lagging.length === 0 ? {} : { laggingSidecars: lagging }),
    ...(forwarding ? { forwarding: forwardingNames[forwarding] } : {}),
    entryId,
    ...timeJson('reachedAt', reachedAtMs),
  };
}

/** As the API writes it. */
export const reachNames: { readonly [reach in Reach | 'unknown']: string } = {
  sidecar: 'REACH_SIDECAR',
  shared: 'REACH_SHARED',
  fleet: 'REACH_FLEET',
  unknown: 'REACH_UNSPECIFIED',
};

const forwardingNames: { readonly [forwarding in Forwarding]: string } = {
  accepted: 'FORWARDING_ACCEPTED',
  pending: 'FORWARDING_PENDING',
  rejected: 'FORWARDING_REJECTED',
  unknown: 'FORWARDING_UNSPECIFIED',
};

/** WatchResponse; undefined for what is no message: the client's own word that the stream is gone. */
export function eventJson(event: WatchEvent): object | undefined {
  switch (event.kind) {
    case 'opened':
      return {
        opened: {
          ...cursorJson('earliest', event.earliest),
          ...cursorJson('latest', event.latest),
          checkpointInterval: durationJson(event.checkpointIntervalMs),
          sidecar: event.sidecar,
          subscription: event.subscription,
          proofLifetime: durationJson(event.proofLifetimeMs),
        },
      };
    case 'invalidation':
      return { batch: { invalidations: [invalidationJson(event)] } };
    case 'checkpoint':
      return {
        checkpoint: {
          ...cursorJson('cursor', event.cursor),
          ...timeJson('serverTime', event.serverTimeMs),
          ...timeJson('provenThrough', event.provenThroughMs),
          degraded: event.degraded,
          ...(event.degradedIssuers.length > 0 ? { degradedIssuers: event.degradedIssuers } : {}),
          ...(event.sources.length > 0 ? { sources: event.sources.map(sourceJson) } : {}),
        },
      };
    case 'reset':
      return {
        reset: {
          reason: `RESET_REASON_${event.reason === 'UNKNOWN' ? 'UNSPECIFIED' : event.reason}`,
          ...cursorJson('cursor', event.cursor),
          ...cursorJson('earliest', event.earliest),
        },
      };
    case 'snapshotEnd':
      return { snapshotEnd: cursorJson('cursor', event.cursor) };
    case 'disconnected':
      return undefined;
  }
}

/** GetStatusResponse. */
export function statusJson(status: Status): object {
  return {
    sidecar: status.sidecar,
    version: status.version,
    ...timeJson('startedAt', status.startedAtMs),
    degraded: status.degraded,
    ...cursorJson('earliest', status.earliest),
    ...cursorJson('latest', status.latest),
    ...cursorJson('applied', status.applied),
    sources: status.sources.map(sourceJson),
    dependencies: status.dependencies.map(({ lastAnswerAtMs, ...rest }) => ({ ...rest, ...timeJson('lastAnswerAt', lastAnswerAtMs) })),
    ...(status.fleet ? { fleet: fleetJson(status.fleet) } : {}),
    upstreamOutboxCount: String(status.upstreamOutboxCount),
    watcherCount: String(status.watcherCount),
    acknowledgements: status.acknowledgements.map(({ subscription, cursor, acknowledgedAtMs }) => ({
      subscription,
      ...cursorJson('cursor', cursor),
      ...timeJson('acknowledgedAt', acknowledgedAtMs),
    })),
    serving: status.serving,
    entryCount: String(status.entryCount),
    tiers: status.tiers.map(({ name, ...counts }) => ({ name, ...countsJson(counts) })),
    degradations: status.degradations.map(({ issuer, reasons, sinceMs }) => ({ issuer, reasons, ...timeJson('since', sinceMs) })),
    forwardings: status.forwardings.map(({ issuer, oldestAtMs, ...counts }) => ({
      issuer,
      ...countsJson(counts),
      ...timeJson('oldestAt', oldestAtMs),
    })),
  };
}

function fleetJson({ members, outboxCount, oldestAtMs }: FleetStatus): object {
  return { members, outboxCount: String(outboxCount), ...timeJson('oldestAt', oldestAtMs) };
}

function countsJson(counts: object): object {
  return Object.fromEntries(Object.entries(counts).map(([field, count]) => [field, String(count)]));
}

/** Selector: the fields are its own already. */
export function selectorJson(selector: SelectorFields): object {
  return Object.fromEntries(Object.entries(selector).filter(([, value]) => value !== '' && value !== false));
}

/** `{name: RFC 3339}`, or nothing where there is no time. */
export function timeJson(name: string, ms: number | undefined): object {
  return ms === undefined ? {} : { [name]: new Date(ms).toISOString().replace('.000Z', 'Z') };
}

/** `1.5s`. */
export function durationJson(ms: number): string {
  return `${ms / 1000}s`;
}

function cursorJson(name: string, cursor: Cursor | undefined): object {
  return cursor === undefined ? {} : { [name]: { journal: cursor.journal, revision: String(cursor.revision) } };
}

function invalidationJson(invalidation: Invalidation): object {
  const { cursor, effect, tags, issuedBeforeMs, learnedAtMs, forgetAtMs, spreadMs, selector, origin, entryId } = invalidation;
  return {
    ...cursorJson('cursor', cursor),
    effect: `EFFECT_${effect === 'UNKNOWN' ? 'UNSPECIFIED' : effect}`,
    tags: tags.map(String),
    ...timeJson('issuedBefore', issuedBeforeMs),
    ...timeJson('learnedAt', learnedAtMs),
    ...timeJson('forgetAt', forgetAtMs),
    ...(spreadMs === undefined ? {} : { spread: durationJson(spreadMs) }),
    ...(selector ? { selector: selectorJson(selector) } : {}),
    ...(origin ? { origin } : {}),
    entryId,
  };
}

function sourceJson({ name, lastAliveAtMs, lastNewsAtMs, degradedSinceMs }: SourceStatus): object {
  return {
    name,
    ...timeJson('lastAliveAt', lastAliveAtMs),
    ...timeJson('lastNewsAt', lastNewsAtMs),
    ...timeJson('degradedSince', degradedSinceMs),
  };
}

function tokenJson(token: Token): object {
  const { issuer, format, issuedAtMs, expiresAtMs, user, scope, ...rest } = token;
  return {
    issuer,
    format,
    ...timeJson('issuedAt', issuedAtMs),
    ...timeJson('expiresAt', expiresAtMs),
    ...(user ? { user: userJson(user) } : {}),
    ...scopeJson(scope),
    ...rest,
  };
}

function userJson({ passwordExpiresAtMs, ...user }: NonNullable<Token['user']>): object {
  return { ...user, ...timeJson('passwordExpiresAt', passwordExpiresAtMs) };
}

function scopeJson(scope: Token['scope']): object {
  switch (scope.kind) {
    case 'unscoped':
      return {};
    case 'system':
      return { system: { all: true } };
    case 'project':
      return { project: scope.project };
    case 'domain':
      return { domain: scope.domain };
  }
}
