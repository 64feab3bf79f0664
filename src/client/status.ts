// The state of a sidecar, as the client tells it.

import type { Cursor } from '../core/invalidation.ts';
import type { FleetStatus as FleetMessage, GetStatusResponse, SourceStatus as SourceMessage } from '../gen/sidegate/v1/token_service.ts';
import { cursorFromMessage } from '../wire/cursor.ts';
import { msFromDate } from '../wire/time.ts';

/** How a sidecar is: what it can reach, how current it is, what waits. Times in milliseconds since the epoch. */
export interface Status {
  /** Its name in the fleet. */
  readonly sidecar: string;
  readonly version: string;
  readonly startedAtMs?: number;
  /** It answers Validate as configured. */
  readonly serving: boolean;
  /** It may have missed news. */
  readonly degraded: boolean;
  readonly earliest?: Cursor;
  readonly latest?: Cursor;
  readonly applied?: Cursor;
  /** Invalidations that can still concern a token. */
  readonly entryCount: number;
  readonly watcherCount: number;
  readonly sources: readonly SourceStatus[];
  readonly dependencies: readonly DependencyStatus[];
  readonly tiers: readonly TierStatus[];
  readonly degradations: readonly IssuerDegradation[];
  /** What waits for an authority: revocations that it has not been told, and tokens that it has not named yet. */
  readonly upstreamOutboxCount: number;
  readonly forwardings: readonly ForwardingStatus[];
  /** The fleet that it belongs to; absent: it is alone. */
  readonly fleet?: FleetStatus;
  /** Subscribers of Watch that acknowledge. */
  readonly acknowledgements: readonly AcknowledgementStatus[];
}

/** How far a subscriber of Watch says that it has come, and when it last said so. */
export interface AcknowledgementStatus {
  /** As in the `opened` of its stream. */
  readonly subscription: string;
  readonly cursor?: Cursor;
  readonly acknowledgedAtMs?: number;
}

/** How current a source of news is. */
export interface SourceStatus {
  readonly name: string;
  readonly lastAliveAtMs?: number;
  readonly lastNewsAtMs?: number;
  /** Absent: it is not behind. */
  readonly degradedSinceMs?: number;
}

/**
 * How it is with its fleet. Whether the log can be reached is told among the dependencies (`fleet/rabbitmq`), how current it is among the
 * sources (`central/fleet`, for each issuer).
 */
export interface FleetStatus {
  /** Names of the others that are there. */
  readonly members: readonly string[];
  /** Invalidations that wait to be told to it, about. */
  readonly outboxCount: number;
  /** When the oldest of them was made. */
  readonly oldestAtMs?: number;
}

/** How something that the sidecar needs is. */
export interface DependencyStatus {
  /** For example `issuer/central`, `issuer/central/keys/fernet`, `journal`, `fleet/rabbitmq` or `memcached/10.0.0.7:11211`. */
  readonly name: string;
  /** Of keys at hand: tokens are read with them. */
  readonly reachable: boolean;
  /** What is wrong, for people. */
  readonly problem?: string;
  readonly lastAnswerAtMs?: number;
  /** For keys: digest of the set in use. */
  readonly keySetDigest?: string;
}

/** How a cache tier is. */
export interface TierStatus {
  /** `memory` or `shared`. */
  readonly name: string;
  /** This and the sizes: 0 where it cannot be told, as of the shared tier. */
  readonly tokenCount: number;
  readonly sizeBytes: number;
  readonly maxSizeBytes: number;
  /** Since the start. */
  readonly lookupCount: number;
  readonly hitCount: number;
}

/** Why answers about an issuer's tokens are degraded. */
export interface IssuerDegradation {
  readonly issuer: string;
  readonly reasons: readonly string[];
  readonly sinceMs?: number;
}

/** How telling an authority of revocations goes; all but `pendingCount` since the start. */
export interface ForwardingStatus {
  readonly issuer: string;
  readonly pendingCount: number;
  readonly acceptedCount: number;
  /** Refused for good. */
  readonly rejectedCount: number;
  /** Dropped, as the tokens ended before the authority could be told. */
  readonly expiredCount: number;
  /** When the oldest that waits was accepted here. */
  readonly oldestAtMs?: number;
}

/** Reads a status. Throws SidecarError where a position or a time is none. */
export function statusFromMessage(message: GetStatusResponse): Status {
  return {
    sidecar: message.sidecar,
    version: message.version,
    ...present('startedAtMs', msFromDate(message.startedAt, 'started_at')),
    serving: message.serving,
    degraded: message.degraded,
    ...present('earliest', cursorFromMessage(message.earliest)),
    ...present('latest', cursorFromMessage(message.latest)),
    ...present('applied', cursorFromMessage(message.applied)),
    entryCount: Number(message.entryCount),
    watcherCount: Number(message.watcherCount),
    sources: message.sources.map(sourceFromMessage),
    dependencies: message.dependencies.map((dependency) => ({
      name: dependency.name,
      reachable: dependency.reachable,
      ...present('problem', dependency.problem || undefined),
      ...present('lastAnswerAtMs', msFromDate(dependency.lastAnswerAt, 'last_answer_at')),
      ...present('keySetDigest', dependency.keySetDigest || undefined),
    })),
    tiers: message.tiers.map((tier) => ({
      name: tier.name,
      tokenCount: Number(tier.tokenCount),
      sizeBytes: Number(tier.sizeBytes),
      maxSizeBytes: Number(tier.maxSizeBytes),
      lookupCount: Number(tier.lookupCount),
      hitCount: Number(tier.hitCount),
    })),
    degradations: message.degradations.map(({ issuer, reasons, since }) => ({
      issuer,
      reasons,
      ...present('sinceMs', msFromDate(since, 'since')),
    })),
    upstreamOutboxCount: Number(message.upstreamOutboxCount),
    forwardings: message.forwardings.map((one) => ({
      issuer: one.issuer,
      pendingCount: Number(one.pendingCount),
      acceptedCount: Number(one.acceptedCount),
      rejectedCount: Number(one.rejectedCount),
      expiredCount: Number(one.expiredCount),
      ...present('oldestAtMs', msFromDate(one.oldestAt, 'oldest_at')),
    })),
    ...present('fleet', message.fleet && fleetFromMessage(message.fleet)),
    acknowledgements: message.acknowledgements.map(({ subscription, cursor, acknowledgedAt }) => ({
      subscription,
      ...present('cursor', cursorFromMessage(cursor)),
      ...present('acknowledgedAtMs', msFromDate(acknowledgedAt, 'acknowledged_at')),
    })),
  };
}

function fleetFromMessage({ members, outboxCount, oldestAt }: FleetMessage): FleetStatus {
  return { members, outboxCount: Number(outboxCount), ...present('oldestAtMs', msFromDate(oldestAt, 'oldest_at')) };
}

/** Reads one source. Throws SidecarError where a time is none. */
export function sourceFromMessage(message: SourceMessage): SourceStatus {
  return {
    name: message.name,
    ...present('lastAliveAtMs', msFromDate(message.lastAliveAt, 'last_alive_at')),
    ...present('lastNewsAtMs', msFromDate(message.lastNewsAt, 'last_news_at')),
    ...present('degradedSinceMs', msFromDate(message.degradedSince, 'degraded_since')),
  };
}

/** `{name: value}`, or nothing where the value is absent. */
function present<Name extends string, Value>(name: Name, value: Value | undefined): { readonly [name in Name]?: Value } {
  return value === undefined ? {} : ({ [name]: value } as { readonly [name in Name]: Value });
}
