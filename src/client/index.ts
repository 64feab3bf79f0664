// Everything that `sidegate/client` exports.

export type { Access } from '../core/access-rules.ts';
export type { CatalogEndpoint, CatalogService } from '../core/catalog.ts';
export type { InactiveReason } from '../core/decision.ts';
export type { Cursor, Effect, Origin } from '../core/invalidation.ts';
export type {
  AccessRule,
  ApplicationCredential,
  Domain,
  Federation,
  Project,
  Role,
  Scope,
  Trust,
  User,
} from '../core/token.ts';
export { formatCursor, parseCursor } from '../wire/cursor.ts';
export type { SelectorFields } from '../wire/selector.ts';
export type { ActiveAnswer, Answer, Forwarding, InactiveAnswer, Invalidated, Invalidation, Provenance, Revoked, Token } from './answer.ts';
export type { CallerToken } from './channel.ts';
export { type Client, type ConnectOptions, connect } from './connect.ts';
export type { NearCache, NearCacheOptions, NearCacheStats } from './near-cache.ts';
export { type NoAnswerCode, NoAnswerError } from './no-answer-error.ts';
export type { Reach } from './reach.ts';
export type {
  CallOptions,
  Credential,
  Demand,
  FindOptions,
  FindTarget,
  Include,
  RefreshOptions,
  RevokeOptions,
  RevokeTarget,
  ValidateOptions,
} from './requests.ts';

export type {
  AcknowledgementStatus,
  DependencyStatus,
  FleetStatus,
  ForwardingStatus,
  IssuerDegradation,
  SourceStatus,
  Status,
  TierStatus,
} from './status.ts';
export type { Pem, TlsOptions } from './tls.ts';

export type { ResetReason, WatchEvent, WatchFilter, WatchOptions } from './watch.ts';
