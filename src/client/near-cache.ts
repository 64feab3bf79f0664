// The near cache: answers from this process's memory for as long as Watch proves that nothing has been missed.

import { hash } from 'node:crypto';
import type { Answer } from './answer.ts';
import { pause, within } from './deadline.ts';
import { Keeper } from './keeper.ts';
import type { CallOptions, Credential, Demand, Include, ValidateOptions } from './requests.ts';
import type { WatchEvent, WatchFilter, WatchOptions } from './watch.ts';

/** How a near cache is made. */
export interface NearCacheOptions {
  /** Answers kept at the most; default 10,000. One more puts out the one that was not used for longest. */
  readonly maxEntries?: number;
  /** Keep only tokens inside this, and be told only what may concern them. */
  readonly filter?: WatchFilter;
  /** The wished time between checkpoints; three of them without one, and the sidecar is asked. */
  readonly checkpointIntervalMs?: number;
}

/** Numbers of a near cache since it was made, and how it is now. */
export interface NearCacheStats {
  readonly entries: number;
  /** Answered from memory. */
  readonly hits: number;
  /** Asked of the sidecar. */
  readonly asked: number;
  /** Events of Watch seen, the end of a connection included. */
  readonly events: number;
  /** Whether it may answer from memory now. */
  readonly proven: boolean;
}

/**
 * Answers like `Client.validate`, from memory where that is proven good. It holds no raw token and no handle. While it is open it keeps
 * one Watch open, and the process alive.
 */
export interface NearCache {
  /**
   * The answer: from memory, or else the sidecar's. What asks for more than a decision (`atLeastAsFresh`, `maxStalenessMs`, details), or
   * for a handle, goes to the sidecar and is not kept. Identical questions share one call unless an invalidation came in between.
   * Throws NoAnswerError.
   */
  validate(credential: Credential, options?: ValidateOptions): Promise<Answer>;
  /** The answer from memory, or undefined where the sidecar has to be asked: for those who cannot wait. */
  peek(credential: Credential, demand?: Demand): Answer | undefined;
  stats(): NearCacheStats;
  /** Ends Watch and forgets everything; from then on every call asks the sidecar. */
  close(): void;
}

/** What a near cache is made of. */
export interface NearCacheParts {
  ask(credential: Credential, options: ValidateOptions): Promise<Answer>;
  watch(options: WatchOptions, subscribing: () => void): AsyncIterable<WatchEvent>;
  /** Never steps. */
  monotonicMs(): number;
  /** How long a call waits that does not say. */
  readonly timeoutMs: number;
  /** Ends it, as `close`. */
  readonly signal: AbortSignal;
}

const defaultMaxEntries = 10_000;
/** A subscription that was refused for good is tried again after this: the caller's token may have been exchanged. */
const refusedPauseMs = 10_000;

/** What makes two questions about one credential different. */
type Question = Omit<ValidateOptions, keyof CallOptions>;

interface Flight {
  readonly answer: Promise<Answer>;
  /** Keeper.news when it left. */
  readonly news: number;
}

/** Makes a near cache, and starts its Watch. */
export function nearCache(parts: NearCacheParts, options: NearCacheOptions = {}): NearCache {
  const keeper = new Keeper(options.maxEntries ?? defaultMaxEntries, options.filter);
  const closing = new AbortController();
  const signal = AbortSignal.any([closing.signal, parts.signal]);
  const flights = new Map<string, Flight>();
  const counts = { hits: 0, asked: 0, events: 0 };

  const hit = (key: string): Answer | undefined => {
    if (signal.aborted) return undefined;
    const answer = keeper.hit(key, parts.monotonicMs());
    if (answer !== undefined) counts.hits += 1;
    return answer;
  };

  const ask = async (key: string, credential: Credential, question: Question): Promise<Answer> => {
    const asked = keeper.asked(parts.monotonicMs());
    counts.asked += 1;
    const answer = await parts.ask(credential, { ...question, include: { ...question.include, tags: true } });
    if (!signal.aborted) keeper.keep(key, answer, asked);
    return answer;
  };

  /** One call for all who ask the same, as long as nothing has been heard that it might have missed. */
  const join = (key: string, credential: Credential, question: Question): Promise<Answer> => {
    const running = flights.get(key);
    if (running !== undefined && running.news === keeper.news) return running.answer;
    // The flight has its own deadline and no signal: who started it may leave, and the others still want the answer.
    const flight: Flight = {
      news: keeper.news,
      answer: ask(key, credential, question).finally(() => {
        if (flights.get(key) === flight) flights.delete(key);
      }),
    };
    // Everybody may have left before it fails.
    flight.answer.catch(() => undefined);
    flights.set(key, flight);
    return flight.answer;
  };

  void follow(parts, keeper, options, signal, () => {
    counts.events += 1;
  });

  return {
    async validate(credential, asking = {}) {
      if (bypasses(asking) || signal.aborted) {
        counts.asked += 1;
        return parts.ask(credential, asking);
      }
      const { timeoutMs = parts.timeoutMs, signal: leaving, ...question } = asking;
      const key = keyOf(credential, question);
      return hit(key) ?? within(join(key, credential, question), timeoutMs, leaving);
    },
    peek: (credential, demand) => hit(keyOf(credential, demand === undefined ? {} : { demand })),
    stats: () => ({ entries: signal.aborted ? 0 : keeper.size, ...counts, proven: !signal.aborted && keeper.proven(parts.monotonicMs()) }),
    close: () => closing.abort(),
  };
}

/** Reads Watch until `signal` aborts; ends without an error. */
async function follow(
  parts: NearCacheParts,
  keeper: Keeper,
  options: NearCacheOptions,
  signal: AbortSignal,
  seen: () => void,
): Promise<void> {
  const { filter, checkpointIntervalMs } = options;
  while (!signal.aborted) {
    const { cursor } = keeper;
    const watching: WatchOptions = {
      signal,
      ...(cursor === undefined ? {} : { after: cursor }),
      ...(filter === undefined ? {} : { filter }),
      ...(checkpointIntervalMs === undefined ? {} : { checkpointIntervalMs }),
    };
    try {
      for await (const event of parts.watch(watching, () => keeper.subscribing(parts.monotonicMs()))) {
        keeper.apply(event, parts.monotonicMs());
        seen();
      }
    } catch (error) {
      // The subscription was refused. Nothing is proven without it, so every call asks, and the caller sees there what is wrong.
      void error;
      keeper.subscribing(parts.monotonicMs());
      seen();
      await pause(refusedPauseMs, signal);
    }
  }
}

/** What a kept answer cannot answer; and an answer with a handle is not kept, as it is as good as the token. */
function bypasses({ atLeastAsFresh, maxStalenessMs, include }: Question): boolean {
  return atLeastAsFresh !== undefined || maxStalenessMs !== undefined || include?.details === true || include?.handle === true;
}

/** The same for the same question and for no other. Holds nothing that opens anything. */
function keyOf(credential: Credential, question: Question): string {
  const isToken = typeof credential === 'string';
  const asked = isToken && isPlain(question) ? '' : JSON.stringify([isToken, canonical(question)]);
  // The length first: no token can be written so that it looks like the question of another one.
  return hash('sha256', `${asked.length}:${asked}${isToken ? credential : credential.handle}`, 'base64');
}

/** Most questions: spared the writing of their key. */
function isPlain({ demand, include = {}, serviceToken, staleIfUnavailableMs }: Question): boolean {
  const { claims, catalog, catalogRegions, catalogServices } = include;
  const isShort = !claims && !catalog && !catalogRegions?.length && !catalogServices?.length;
  return isShort && demand === undefined && !serviceToken && staleIfUnavailableMs === undefined;
}

/** `staleIfUnavailableMs` too: who did not allow it must not get the answer of a call that did. */
function canonical({ demand = {}, include = {}, serviceToken, staleIfUnavailableMs }: Question): unknown[] {
  return [canonicalDemand(demand), canonicalInclude(include), serviceToken ?? '', staleIfUnavailableMs ?? -1];
}

function canonicalDemand(demand: Demand): unknown[] {
  const { scope, anyOfIssuers, anyOfAudiences, anyOfRoles, allOfScopes, certificateThumbprint, access } = demand;
  return [
    scope?.kind ?? '',
    scope !== undefined && scope.kind !== 'system' ? scope.id : '',
    sorted(anyOfIssuers),
    sorted(anyOfAudiences),
    sorted(anyOfRoles),
    sorted(allOfScopes),
    certificateThumbprint ?? '',
    access === undefined ? [] : [access.service, access.method, access.path],
  ];
}

function canonicalInclude({ claims = false, catalog = false, catalogRegions, catalogServices }: Include): unknown[] {
  return [claims, catalog, sorted(catalogRegions), sorted(catalogServices)];
}

function sorted(list: readonly string[] = []): readonly string[] {
  return list.length < 2 ? list : [...list].sort();
}
