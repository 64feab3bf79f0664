// Everything that `sidegate/client` exports.

export type { Demand, InactiveReason } from '../core/decision.ts';
export type { Cursor, Effect, Origin } from '../core/invalidation.ts';
export type {
  ApplicationCredential,
  Domain,
  Federation,
  Project,
  Role,
  Scope,
  Token,
  Trust,
  User,
} from '../core/token.ts';
export { formatCursor, parseCursor } from '../wire/cursor.ts';
export type { SelectorFields } from '../wire/selector.ts';
export type { ActiveAnswer, Answer, InactiveAnswer, Invalidated, Invalidation, Provenance } from './answer.ts';
export type { CallerToken } from './channel.ts';
export { type Client, type ConnectOptions, connect } from './connect.ts';
export type { NearCache, NearCacheOptions, NearCacheStats } from './near-cache.ts';
export { type NoAnswerCode, NoAnswerError } from './no-answer-error.ts';
export type { CallOptions, RefreshOptions, RevokeOptions, RevokeTarget, ValidateOptions } from './requests.ts';
export type { DependencyStatus, IssuerDegradation, SourceStatus, Status, TierStatus } from './status.ts';
export type { ResetReason, WatchEvent, WatchFilter, WatchOptions } from './watch.ts';
