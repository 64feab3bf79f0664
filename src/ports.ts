// All that Sidegate asks of the world, on one page. Adapters implement these; the comments are their contracts.

import type { Attribute } from './core/attributes.ts';
import type { InactiveReason } from './core/decision.ts';
import type { Effect, Entry, PlacedEntry, Revision } from './core/invalidation.ts';
import type { Condition } from './core/selector.ts';
import type { Facts } from './core/token.ts';

/** Both clocks. Only the composition root makes one. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch: for times that tokens and people write. */
  nowMs(): number;
  /** Never steps, any origin: for durations. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  delay(ms: number, signal: AbortSignal): Promise<void>;
}

/** How an authority's clock stands to ours: its minus ours, in milliseconds, as far as a reply's `Date` tells. */
export interface ClockReading {
  readonly clockOffsetMs?: number;
}

/** What reading a token gave. */
export type Reading =
  | ({
      readonly kind: 'facts';
      readonly facts: Facts;
      readonly provenance: 'authority' | 'signature';
      /** The service catalog as JSON text, byte for byte as the authority sent it; '' where it sent none. Only where it was asked for. */
      readonly catalog?: string;
    } & ClockReading)
  | ({
      readonly kind: 'inactive';
      readonly reason: InactiveReason;
      /** Judged by keys that were fetched before the question: newer ones might say otherwise. Good enough to refuse, not to forget. */
      readonly byOldKeys?: true;
    } & ClockReading);

/** What else is wanted of a reading. */
export interface ReadOptions {
  /** The service catalog too, where the authority has one. */
  readonly catalog?: boolean;
  /** Also of a token that has ended, as far as the authority goes along: only for a demand that may (S16). */
  readonly allowExpired?: boolean;
}

/** What a token tells of itself, verified by keys at hand, before anybody is asked about it. */
export type Glance =
  | {
      readonly kind: 'inactive';
      readonly reason: InactiveReason;
      /** As in `Reading`. */
      readonly byOldKeys?: true;
    }
  | {
      readonly kind: 'part';
      /** What invalidations can name of it; of a dimension that it does not tell, one without a value (S2). */
      readonly attributes: readonly Attribute[];
      readonly identity: string;
      /** Whole seconds, in milliseconds since the epoch. */
      readonly issuedAtMs: number | undefined;
      readonly expiresAtMs: number | undefined;
    };

/**
 * Reads tokens of one issuer. Asked only for tokens whose shape the issuer accepts.
 * Answers `inactive` only on evidence. Throws SidecarError (UNAVAILABLE, DEADLINE_EXCEEDED) where there is none.
 * Keeps no raw token longer than the call. Ends, one way or the other, soon after `signal` aborts.
 */
export interface TokenFormat {
  /** As Token.format of its tokens; of one that reads several kinds, what they have in common. */
  readonly name: string;
  read(raw: string, signal: AbortSignal, options?: ReadOptions): Promise<Reading>;
  /**
   * What can be told without asking anybody; undefined: nothing, as no keys of such tokens are at hand. With `allowExpired` a token
   * that has ended is told like any other. Never waits for anybody, and never throws.
   */
  glance?(raw: string, options?: Pick<ReadOptions, 'allowExpired'>): Promise<Glance | undefined>;
  /**
   * Whether a token that is spelt so tells all of itself, as far as it is one: nobody is asked about it, and its facts have provenance
   * `signature`. Absent: as the issuer says. By the spelling alone; cheap.
   */
  tellsAll?(raw: string): boolean;
  /** Every key set that it reads with, where it has several, under names such as `fernet`. Cheap. */
  keySets?(): readonly { readonly name: string; readonly health: DependencyHealth }[];
  /** The digest of the key set in use, the number of keys, and what is wrong, for status. Cheap. */
  health(): DependencyHealth;
  /**
   * Runs what the format must do in the background (key sets) until `signal` aborts.
   * `invalidate` appends a REFRESH of the tokens signed by a key that has left the set; it resolves when that is durable.
   */
  run?(signal: AbortSignal, invalidate: (keyId: string) => Promise<void>): Promise<void>;
}

/** How something that the sidecar needs is, for status and metrics. Never a secret. */
export interface DependencyHealth {
  readonly reachable: boolean;
  /** For people. */
  readonly problem?: string;
  readonly lastAnswerAtMs?: number;
  /** For keys: digest of the set in use, to compare sidecars. */
  readonly keySetDigest?: string;
  readonly keyCount?: number;
}

/**
 * An authority that can be asked about an opaque token.
 * `inactive` only where the authority itself said so in its own words (S9); everything else that is not a good answer throws
 * SidecarError: UNAVAILABLE with `retryAfterMs`, naming OUR credential where that is what failed.
 */
export interface Upstream {
  ask(raw: string, signal: AbortSignal, options?: ReadOptions): Promise<Reading>;
  /**
   * Tells the authority that the token is to be dead, with the token itself where that is what it takes. `accepted`: it is dead there,
   * perhaps was before. `rejected`: the authority will never do it. Throws SidecarError (UNAVAILABLE, DEADLINE_EXCEEDED) where it has
   * not said: tell it again later. Absent: it cannot be told.
   */
  revoke?(raw: string, signal: AbortSignal): Promise<'accepted' | 'rejected'>;
  health(): DependencyHealth;
}

/** What a shared tier knows under a name. `unreachable`: nobody can tell; `unreadable`: something is there that is not ours. */
export type SharedFinding =
  | { readonly kind: 'found'; readonly value: Uint8Array }
  | { readonly kind: 'missing' | 'unreachable' | 'unreadable' };

/**
 * The cache that sidecars of one deployment share. It may forget everything at any time, and holds the only copy of nothing.
 *
 * `name` is any text that tells the record; where it is kept, nobody can tell it from what is stored, nor the value. What comes back
 * is what some sidecar of this deployment stored under exactly this name, or it is not `found`. Nothing throws, and nothing takes
 * longer than the tier's deadline. Values are at most `largestValueBytes`; a larger one is not stored.
 */
export interface SharedCache {
  readonly largestValueBytes: number;
  get(name: string): Promise<SharedFinding>;
  /** Keeps it for about `lifeMs`, at most; not at all where that is not positive. Says whether it is stored. */
  set(name: string, value: Uint8Array, lifeMs: number): Promise<boolean>;
  /** Stores it where nothing is: of many that add under one name at once, one is told `added`. */
  add(name: string, value: Uint8Array, lifeMs: number): Promise<'added' | 'exists' | 'unreachable'>;
  /** Says whether it is certainly gone. */
  remove(name: string): Promise<boolean>;
  /** Its servers as they are now, by `host:port`. */
  health(): readonly { readonly server: string; readonly health: DependencyHealth }[];
  close(): Promise<void>;
}

/**
 * The durable ordered record of one sidecar.
 *
 * Revisions are dense when written, from 1. `append` resolves when the entries are on disk (synced); concurrent appends share one
 * sync. When a sync fails it rejects with UNAVAILABLE / JOURNAL_FAILED, and so does every later append: nothing is acknowledged
 * that might not be there.
 */
export interface Journal {
  /** Random, made with the journal. Part of every cursor. */
  readonly id: string;
  readonly bornAtMs: number;
  /** What opening found wrong: entries that are missing although no compaction recorded it. */
  readonly corruption: string | undefined;
  /** Why nothing is acknowledged any more, for people: a write or its sync failed. It stays so until the journal is opened again. */
  failure(): string | undefined;
  /** Newest durable revision; 0 in a new journal. */
  head(): Revision;
  /** Everything at or below this is forgotten for watchers (S12, the REFRESH floor): the oldest cursor that can be resumed from. */
  earliest(): Revision;
  /** Live entries. */
  count(): number;
  /** Size on disk in bytes, about. */
  sizeBytes(): Promise<number>;
  /**
   * Appends. `once` makes it idempotent (S14): the same key with the same digest resolves to the first entry and appends nothing;
   * with another digest it rejects with ALREADY_EXISTS. A key lives as long as its entry.
   */
  append(entry: Entry, once?: { readonly key: string; readonly digest: string }): Promise<PlacedEntry>;
  /** Live entries after `after` (exclusive), oldest first, at most `limit`. Sees everything whose append has resolved. */
  read(after: Revision, limit: number): Promise<PlacedEntry[]>;
  /** The live entry with this id. */
  find(entryId: string): Promise<PlacedEntry | undefined>;
  /** The live entry at this revision. */
  at(at: Revision): Promise<PlacedEntry | undefined>;
  /**
   * Forgets entries whose `forgetAtMs` is before `nowMs`, in bounded batches, and moves `earliest` to the newest revision whose
   * entry was learned before `floorMs`. Answers how many were forgotten.
   */
  compact(times: { readonly nowMs: number; readonly floorMs: number }): Promise<number>;
  /** The next entry's revision is above `head`, which no entry has: cursors that were given before a copy was restored stay behind it. */
  skipTo(head: Revision): Promise<void>;
  /** Small values of the sidecar's own, durable when it resolves. */
  note(name: string, value: string): Promise<void>;
  noted(name: string): Promise<string | undefined>;
  /** What is still to be told to somebody, durable beside the entries. */
  readonly outbox: Outbox;
  close(): Promise<void>;
}

/** Small records that outlive the process until they are removed. The journal knows nothing of what they hold: it is sealed. */
export interface Outbox {
  /** Durable when it resolves; replaces what had this id. Throws as `append`. */
  put(id: string, record: Uint8Array): Promise<void>;
  /** No error where there is none. Durable when it resolves. */
  remove(id: string): Promise<void>;
  /** All of them, in the order of their ids. */
  list(): Promise<readonly { readonly id: string; readonly record: Uint8Array }[]>;
}

/** What news say of the tokens of their issuer. */
export interface NewsInvalidation {
  /** REVOKE is a REFRESH of the same tokens too: no skew between clocks keeps one alive (S4). */
  readonly effect: Effect;
  /** About tokens that fit all of them; none: every token of the issuer. */
  readonly conditions: readonly Condition[];
  /** REVOKE: by the source's clock, whole seconds, inclusive. Absent: the second of the news. */
  readonly issuedBeforeMs?: number;
  /** A REFRESH that takes effect token by token, spread over a window (S7). */
  readonly isWide?: true;
}

/** One piece of news. */
export interface News {
  /** Its id at the source: told again, by whichever sidecar's source, it is the same news. */
  readonly id: string;
  /** In the source's words, for example `identity.user.deleted`. */
  readonly event: string;
  /** When it happened by the source's clock, in milliseconds since the epoch. */
  readonly atMs: number;
  /** Of the request that caused it, where the source tells. */
  readonly requestId?: string;
  /** Of whom it is about, by the source's ids: what another source's news about the same are told by. */
  readonly about: readonly string[];
  readonly invalidations: readonly NewsInvalidation[];
  /** It may hide a revocation that only another source names: that is asked first, and where it names nobody, these hold (S7). */
  readonly lookFirst?: readonly NewsInvalidation[];
  /** A project that may have been disabled together with what is below it, of which nobody tells (S8). */
  readonly mayCascadeFrom?: string;
}

/** Where a source's news go. */
export interface NewsSink {
  /**
   * Resolves when all that it means is durable and applied here; of a source that is heard for all, in their log too. Rejects where it is
   * not, and then it is to be told again.
   */
  tell(news: News): Promise<void>;
  /**
   * Everything that the source had until `throughMs` (monotonic) has been told. The only sign of life there is. `elsewhere`: to another
   * sidecar, which has told us; and what that one thinks of the source.
   */
  proven(throughMs: number, elsewhere?: { readonly isSuspect: boolean }): void;
  /**
   * Something may have been missed until now. `why`: for people. Resolves when a restart would know of it, and never rejects: whatever else
   * shows it must not be given away sooner. Where the journal takes nothing it never resolves. Of a source that is heard for all: resolves
   * when everything is being asked about again by everybody, as nobody else would know.
   */
  gap(why: string): Promise<void>;
  /** Something is missed from now on, until a gap is told. Resolves as that. */
  missing(): Promise<void>;
  /** Something came that means nothing here. */
  ignored(why: 'unreadable' | 'duplicate' | 'irrelevant'): void;
  /** How the source's clock stands to ours: its minus ours, in milliseconds, as far as it has shown (S1). */
  clockRead?(offsetMs: number): void;
  /** Another source has told what this one should have told. */
  isSuspect?(): boolean;
}

/**
 * Whoever tells of what happens at an issuer. It may tell late, twice, and in any order; what it cannot tell it admits (`gap`), and it
 * is silent about a moment (`proven`) until it has told everything from before it.
 */
export interface NewsSource {
  /** `bus` or `poll`: with its issuer's name, its name in status, metrics and reasons. */
  readonly name: string;
  /** Runs until `signal` aborts; resolves then. What fails is in `health`, and is tried again. */
  run(sink: NewsSink, signal: AbortSignal): Promise<void>;
  /** Asks now, beside its schedule. Resolves when everything that was there has been told. Throws SidecarError where nobody answers. */
  look?(signal: AbortSignal): Promise<void>;
  health(): DependencyHealth;
  /** Of a source that one sidecar hears for a whole fleet: whether it is this one. Absent: each hears its own. */
  hearsForAll?(): boolean;
}

/** A question that another sidecar of the fleet has asked for all of them: whatever it was told is applied here. */
export interface HeardQuestion {
  /** Everything that was listed between these, by the source's clock in milliseconds, is applied here. */
  readonly fromMs: number;
  readonly throughMs: number;
  /** What was asked about: everything later than that, by the source's clock in milliseconds. */
  readonly sinceMs: number;
  /** It began after this moment for sure, monotonic here; absent: nobody knows, or it was told long ago. */
  readonly provenMs?: number;
  /** When it began as far as two machines' clocks tell, monotonic here. */
  readonly beganMs: number;
  /** From its beginning until all of that was in the log, in milliseconds. */
  readonly tookMs: number;
  /** It is one of now, and not of a past that is read late. */
  readonly isOfNow: boolean;
  /** Whoever asked has been told by another source what this one should have told. */
  readonly isSuspect: boolean;
}

/** What whoever has asked says of the answer. */
export type ToldQuestion = Pick<HeardQuestion, 'fromMs' | 'throughMs' | 'sinceMs'> & Partial<Pick<HeardQuestion, 'isSuspect'>>;

/** A question that one sidecar of a fleet asks for all of them. */
export interface SharedQuestion {
  /** How many others are there, who hear of each other as they ask; 0: each asks for itself. */
  others(): number;
  /** The log takes what is told, and what others tell comes. */
  isCurrent(): boolean;
  /** Whether the log that is read here holds what a sidecar with that journal has told of its questions; ours does. */
  hasTold(journal: string): boolean;
  /**
   * A question begins here. What this returns is to be called when everything that it told is applied here: the others hear of it when they
   * have it too, if the log takes it. Never throws, and waits for nobody.
   */
  begin(): (told: ToldQuestion) => void;
  /** Gives `take` what is asked by others from now on, until `signal` aborts. */
  listen(take: (question: HeardQuestion) => void, signal: AbortSignal): void;
}

/**
 * How a project stands at its issuer. `refused`: there is none of that id. `unknown`: nobody says, for a reason in words for people.
 * `domainId`: of the domain that it is in.
 */
export type ProjectStanding =
  | { readonly kind: 'enabled' | 'disabled'; readonly domainId?: string }
  | { readonly kind: 'refused' }
  | { readonly kind: 'unknown'; readonly problem: string };

/** A record of a fleet's log. Positions rise; gaps between them mean nothing. */
export interface LogRecord {
  /** A safe integer, at least 0. */
  readonly position: number;
  readonly bytes: Uint8Array;
}

/**
 * One connection to a log that stands. What is asked of it has a deadline; it ends once, for one reason: then `signal` aborts, and
 * everything that is asked for rejects.
 */
export interface LogLink {
  readonly signal: AbortSignal;
  /**
   * Appends. Resolves when the log has it for sure; rejects with SidecarError where nobody knows: it may be there all the same. Any number
   * at once; they are appended in the order of their calls.
   */
  append(bytes: Uint8Array): Promise<void>;
  /**
   * Gives `take` an empty batch when the reading stands, then the records from `from` on, that one included, in their order, and then what is
   * appended, in batches of what is there; the next one when it has resolved. From the oldest where nothing that old is retained, or `from` is undefined. A position beyond the
   * newest is nothing that can be told here: nothing comes, perhaps for ever. Resolves when `signal` aborts; rejects where the reading ends
   * otherwise, with the reason of `take` where that rejects. One reading at a time.
   */
  read(from: number | undefined, take: (batch: readonly LogRecord[]) => Promise<void>, signal: AbortSignal): Promise<void>;
}

/**
 * A log that the sidecars of a fleet share: an ordered record of what each has appended, kept for at least as long as it is told. It may
 * give a record twice, lose its tail, be trimmed, deleted and made again: who reads must notice (S14). Nothing that it carries is believed
 * unless it is authenticated.
 */
export interface Engine {
  /** `rabbitmq`, `jetstream`, `local` or `follow`. */
  readonly name: string;
  /**
   * Gives every connection that stands to `session`, one at a time, with the log made where there was none, until `signal` aborts;
   * resolves then. Where the connection ends, or the session does, it tries again, after a while. Never throws.
   */
  run(session: (link: LogLink) => Promise<void>, signal: AbortSignal): Promise<void>;
  /** `problem` also where the log is reachable and not as it should be: its retention is shorter than wanted. */
  health(): DependencyHealth;
  /** One more way to the same log, for somebody who follows this sidecar. Absent: nobody can. */
  another?(): Engine;
}

/** Names and values of a metric's labels: names of the configuration and closed lists only; never an id, a user or a token. */
export type Labels = Readonly<Record<string, string>>;

/** Counts and lines. Each instrument is bound once, outside the hot path; using it neither allocates nor throws. */
export interface Telemetry {
  counter(name: string, labels?: Labels): { add(n?: number): void };
  /** Seconds or revisions, as the name says. */
  histogram(name: string, labels?: Labels): { observe(value: number): void };
  /** Read when somebody scrapes. */
  gauge(name: string, labels: Labels, read: () => number): void;
  readonly log: Logger;
  /** One line for each act that an operator may have to account for. */
  audit(line: AuditLine): void;
}

/** Lines for people and machines. Fields never hold a raw token or a secret. */
export interface Logger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  debug(fields: object, message: string): void;
}

/** Who did what, and how it went. */
export interface AuditLine {
  readonly act: 'revoke' | 'refresh' | 'find' | 'refused';
  readonly actor: string;
  readonly outcome: string;
  readonly selector?: unknown;
  readonly reason?: string;
  readonly cursor?: string;
  readonly entryId?: string;
}
