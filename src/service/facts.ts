// Facts by digest: the memory tier, the remembered refusals, and one flight per digest to whoever can tell.

import { LRUCache } from 'lru-cache';
import type { InactiveReason } from '../core/decision.ts';
import { SidecarError } from '../core/errors.ts';
import type { Covering } from '../core/invalidation-index.ts';
import { signedContentOf } from '../core/raw.ts';
import type { Tagger } from '../core/tag.ts';
import type { Clock, Reading, Telemetry } from '../ports.ts';
import type { Degradations } from './degradation.ts';
import { Gate } from './gate.ts';
import type { Invalidations } from './invalidations.ts';
import type { Issuer } from './issuer.ts';
import { type FetchBegin, type Known, knownOf, sizeOf, type TokenCodec } from './known.ts';
import { type RefusalLimits, Refusals } from './refusals.ts';
import { orAborted } from './wakeup.ts';

/** How facts are kept. */
export interface CachingLimits {
  /** Facts are kept at all. */
  readonly enabled: boolean;
  /** How long they serve after the fetch began; `Infinity`: until the token ends. */
  readonly timeMs: number;
  /** The part of `timeMs` by which it varies at random, so that tokens learned together do not end together. */
  readonly jitter: number;
  readonly memoryBytes: number;
  readonly refusals: RefusalLimits;
}

/** What the store needs. */
export interface FactsParts {
  readonly issuers: readonly Issuer[];
  readonly invalidations: Invalidations;
  readonly tagger: Tagger;
  readonly codec: TokenCodec;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly degradations: Degradations;
  readonly limits: CachingLimits;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
}

/** Whose facts are wanted. */
export interface Wanted {
  readonly digest: string;
  readonly raw: string;
  readonly issuer: Issuer;
  /** Whether facts of a flight that began before this call are good enough for it; absent: they are. */
  readonly suits?: (known: Known) => boolean;
}

/** What a fetch gave. */
export type Fetched =
  | { readonly kind: 'known'; readonly known: Known }
  | { readonly kind: 'inactive'; readonly reason: InactiveReason; readonly revision: number; readonly byOldKeys: boolean };

type Refused = Extract<Reading, { kind: 'inactive' }>;

interface Flight {
  readonly issuer: string;
  readonly began: FetchBegin;
  readonly landed: Promise<Fetched>;
}

/** lru-cache makes an object of options for every call that brings none. */
const asItIs = {};

/** Where facts come from. */
export class FactsStore {
  readonly #parts: FactsParts;
  readonly #memory: LRUCache<string, Known>;
  readonly #refusals: Refusals;
  readonly #flights = new Map<string, Flight>();
  readonly #gates: ReadonlyMap<string, Gate>;
  #silentUntilMs = -Infinity;

  constructor(parts: FactsParts) {
    this.#parts = parts;
    this.#memory = new LRUCache({
      maxSize: parts.limits.memoryBytes,
      // What is larger than a hundredth of the tier would push out too much that is good.
      maxEntrySize: Math.max(65_536, Math.floor(parts.limits.memoryBytes / 100)),
      sizeCalculation: sizeOf,
      dispose: (_known, _digest, why) => {
        if (why === 'evict') this.#evictions.add();
      },
    });
    this.#refusals = new Refusals(parts.limits.refusals);
    this.#gates = new Map(parts.issuers.map((issuer) => [issuer.name, new Gate(`issuer "${issuer.name}"`, issuer.calls)]));
  }

  entries(tier: 'memory' | 'unknown'): number {
    return tier === 'memory' ? this.#memory.size : this.#refusals.size;
  }

  get bytes(): number {
    return this.#memory.calculatedSize;
  }

  /** Fetches under way. */
  flightsTo(issuer: string): number {
    return [...this.#flights.values()].filter((flight) => flight.issuer === issuer).length;
  }

  queued(issuer: string): number {
    return this.#gates.get(issuer)?.queued ?? 0;
  }

  /** The public name of a token, known here or not. */
  fingerprintOf(digest: string): string {
    return this.#parts.tagger.fingerprints(digest)[0] ?? '';
  }

  /** Facts in memory, however old. */
  find(digest: string): Known | undefined {
    return this.#memory.get(digest, asItIs);
  }

  /** A refusal that still holds: not older than its time, and no REFRESH about what the token was has been applied since. */
  refused(digest: string, issuer: Issuer): boolean {
    const refusal = this.#refusals.find(digest, issuer.name, this.#parts.clock.monotonicMs());
    if (!refusal) return false;
    if (!refusal.formerly) return true;
    return this.#parts.invalidations.coveringOf(refusal.formerly).refreshRevision <= refusal.revision;
  }

  /**
   * What the journal says of a token whose facts are not known here: whether it has been revoked by possession.
   */
  coveringUnseen({ digest, raw, issuer }: Wanted): Covering {
    const { tagger, invalidations } = this.#parts;
    const content = { dimension: 'signed_content' as const, value: signedContentOf(raw) };
    const attributes = tagger.attributes(issuer.name, content.value === undefined ? [] : [content], tagger.fingerprints(digest));
    return invalidations.coveringOf({ attributes, issuedAtMs: undefined, canAsk: issuer.canAsk });
  }

  /**
   * Facts whose fetch began at or after this call, as far as a REFRESH applied before it demands that: joins the running flight, and
   * one more where that one began too early (S6). The caller leaves by its own signal; the flight ends by its own deadline.
   * Throws as TokenFormat.read, and DEADLINE_EXCEEDED by the caller's signal.
   */
  async fetch({ digest, raw, issuer, suits }: Wanted, signal: AbortSignal): Promise<Fetched> {
    const arrivedAt = this.#parts.invalidations.applied;
    const running = this.#flights.get(digest);
    if (running) {
      this.#waiters(issuer).add();
      const landed = await leaving(running.landed, signal);
      const isBehind = running.began.revision < arrivedAt && this.#isBehind(landed, running.began.revision);
      if (!isBehind && (landed.kind === 'inactive' || suits?.(landed.known) !== false)) return landed;
    }
    return leaving((this.#flights.get(digest) ?? this.#fly(digest, raw, issuer)).landed, signal);
  }

  /** Something that matches was applied after the flight began. */
  #isBehind(landed: Fetched, beganRevision: number): boolean {
    if (landed.kind === 'inactive') return true;
    return this.#parts.invalidations.covering(landed.known).refreshRevision > beganRevision;
  }

  #fly(digest: string, raw: string, issuer: Issuer): Flight {
    const { clock, invalidations } = this.#parts;
    const began = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs(), revision: invalidations.applied };
    const landed = this.#read(digest, raw, issuer, began).finally(() => {
      if (this.#flights.get(digest) === flight) this.#flights.delete(digest);
    });
    const flight: Flight = { issuer: issuer.name, began, landed };
    this.#flights.set(digest, flight);
    // Its waiters may all have left by the time it fails.
    landed.catch(() => undefined);
    return flight;
  }

  async #read(digest: string, raw: string, issuer: Issuer, began: FetchBegin): Promise<Fetched> {
    const { telemetry, clock, degradations } = this.#parts;
    const gate = this.#gates.get(issuer.name);
    if (!gate) throw new SidecarError('INTERNAL', `no gate for issuer "${issuer.name}"`, { reason: 'NO_GATE' });
    const deadline = AbortSignal.timeout(issuer.calls.deadlineMs);
    const startedMs = clock.monotonicMs();
    const done = (outcome: string): void => {
      telemetry.counter('sidegate_upstream_calls_total', { issuer: issuer.name, outcome }).add();
      telemetry
        .histogram('sidegate_upstream_duration_seconds', { issuer: issuer.name, outcome })
        .observe((clock.monotonicMs() - startedMs) / 1000);
    };
    try {
      const reading = await gate.run(deadline, () => orDeadline(issuer.format.read(raw, deadline), deadline, issuer.name));
      if (reading.clockOffsetMs !== undefined) {
        const off = Math.abs(reading.clockOffsetMs) > issuer.life.skewMs;
        if (degradations.set(issuer.name, 'CLOCK', off, clock.nowMs())) {
          telemetry.log.warn({ issuer: issuer.name, offsetMs: reading.clockOffsetMs, degraded: off }, 'our clock against the authority’s');
        }
      }
      done(reading.kind === 'facts' ? 'good' : 'bad');
      if (reading.kind === 'inactive') return this.#refuse(digest, issuer, reading, began);
      return {
        kind: 'known',
        known: this.#keep(digest, { issuer, digest, signedContent: signedContentOf(raw), began, timeMs: this.#timeMs(), ...reading }),
      };
    } catch (error) {
      const outcome = error instanceof SidecarError ? outcomes[error.reason] : undefined;
      done(outcome ?? 'error');
      throw error;
    }
  }

  #keep(digest: string, parts: Parameters<typeof knownOf>[0]): Known {
    const known = knownOf(parts, this.#parts.tagger, this.#parts.codec);
    const before = this.#memory.peek(digest);
    if (before && this.#wasAlive(before)) this.#refusals.witness(false, this.#parts.clock.monotonicMs());
    this.#refusals.forget(digest, parts.issuer.name);
    // A slow fetch must not put older facts over newer ones.
    const newer = before && before.began.monotonicMs > parts.began.monotonicMs;
    if (this.#parts.limits.enabled && !newer) this.#memory.set(digest, known);
    return known;
  }

  #refuse(digest: string, issuer: Issuer, { reason, byOldKeys }: Refused, began: FetchBegin): Fetched {
    const { clock, telemetry } = this.#parts;
    const before = this.#memory.peek(digest);
    const nowMs = clock.monotonicMs();
    if (before) {
      if (this.#wasAlive(before)) this.#refusals.witness(reason === 'REFUSED', nowMs);
      // A slow answer must not put out newer facts.
      if (before.began.monotonicMs <= began.monotonicMs) this.#memory.delete(digest);
    }
    if (reason === 'REFUSED') {
      const kept = this.#refusals.remember(digest, issuer.name, { revision: began.revision, formerly: before }, nowMs);
      if (!kept && this.#refusals.inMassRefusal(nowMs)) {
        telemetry.counter('sidegate_refusals_forgotten_total', { issuer: issuer.name }).add();
        this.#sayMassRefusal(issuer, nowMs);
      }
    }
    return { kind: 'inactive', reason, revision: began.revision, byOldKeys: byOldKeys === true };
  }

  /** A token that has ended by itself is refused as a matter of course: it says nothing about the authority (S9). */
  #wasAlive(before: Known): boolean {
    return this.#parts.clock.nowMs() < before.standing.endsAtMs;
  }

  /** One line in ten seconds: there is one such refusal for every call. */
  #sayMassRefusal(issuer: Issuer, nowMs: number): void {
    if (nowMs < this.#silentUntilMs) return;
    this.#silentUntilMs = nowMs + 10_000;
    this.#parts.telemetry.log.warn({ issuer: issuer.name }, 'most tokens that were active are refused now: refusals are not remembered');
  }

  #timeMs(): number {
    const { timeMs, jitter } = this.#parts.limits;
    // Downwards only: facts never serve longer than their time.
    return timeMs * (1 - jitter * this.#parts.random());
  }

  get #evictions(): { add(n?: number): void } {
    return this.#parts.telemetry.counter('sidegate_cache_evictions_total', { tier: 'memory' });
  }

  #waiters(issuer: Issuer): { add(n?: number): void } {
    return this.#parts.telemetry.counter('sidegate_flight_waiters_total', { issuer: issuer.name });
  }
}

/** The label of a metric for each machine reason that is not simply an error. */
const outcomes: Readonly<Record<string, string>> = {
  OUR_CREDENTIAL_REFUSED: 'our_credential',
  OUR_CREDENTIAL_FORBIDDEN: 'our_credential',
  UPSTREAM_BUSY: 'shed',
  UPSTREAM_TIMEOUT: 'timeout',
};

function orDeadline<Value>(reading: Promise<Value>, deadline: AbortSignal, issuer: string): Promise<Value> {
  return orAborted(reading, deadline).catch((error: unknown) => {
    if (error instanceof SidecarError || !deadline.aborted) throw error;
    const message = `issuer "${issuer}" did not answer in time`;
    throw new SidecarError('UNAVAILABLE', message, { reason: 'UPSTREAM_TIMEOUT', retryAfterMs: 1000, cause: error });
  });
}

/** The caller leaves; the flight goes on for the others. */
function leaving<Value>(landed: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return orAborted(landed, signal).catch((error: unknown) => {
    if (error instanceof SidecarError || !signal.aborted) throw error;
    throw new SidecarError('DEADLINE_EXCEEDED', 'no answer before the deadline', { reason: 'DEADLINE', cause: error });
  });
}
