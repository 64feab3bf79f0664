// Where facts come from: what is kept, and one flight per digest to the shared tier and to whoever can tell.

import { newestRefreshOf } from '../core/currentness.ts';
import type { InactiveReason } from '../core/decision.ts';
import { SidecarError } from '../core/errors.ts';
import type { Covering } from '../core/invalidation-index.ts';
import { hashIdsOf, signedContentOf } from '../core/raw.ts';
import { deriveKey } from '../core/sealed.ts';
import type { Reading } from '../ports.ts';
import { type Authorities, isBusy, type Yielding } from './authorities.ts';
import type { Catalogs } from './catalogs.ts';
import { asksAbout, type Issuer } from './issuer.ts';
import { type AskedToken, KeptFacts, type KeptFactsParts } from './kept-facts.ts';
import { type FetchBegin, type Known, knownOf, lifeWith, namesOf, type TokenCodec } from './known.ts';
import type { Handles } from './tier/handles.ts';
import type { Leases } from './tier/leases.ts';
import type { SharedFacts, SharedTier } from './tier/shared-tier.ts';
import { orAborted } from './wakeup.ts';

/** What the store needs. */
export interface FactsParts extends KeptFactsParts {
  readonly authorities: Authorities;
  readonly catalogs: Catalogs;
  /** Where sidecars share a tier. */
  readonly shared?: { readonly tier: SharedTier; readonly leases: Leases; readonly handles: Handles | undefined } | undefined;
  /** Is told of all facts that are learned: from an authority (`isNews`), or from the shared tier. */
  readonly learned?: ((known: Known, isNews: boolean) => void) | undefined;
  readonly codec: TokenCodec;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
}

/** Whose facts are wanted. */
export interface Wanted extends AskedToken {
  readonly raw: string;
  /** Whether facts that were fetched before this call are good enough for it; absent: those of a flight under way are. */
  readonly suits?: (known: Known) => boolean;
  /** The service catalog too. */
  readonly catalog?: boolean;
  /** To whom this question gives way: there are facts that would do in need. Absent: to nobody. */
  readonly yieldsTo?: Yielding | undefined;
}

/** What a fetch gave. `catalog`: where it was wanted. */
export type Fetched =
  | { readonly kind: 'known'; readonly known: Known; readonly from: 'shared' | 'authority' | 'signature'; readonly catalog?: Uint8Array }
  | { readonly kind: 'inactive'; readonly reason: InactiveReason; readonly revision: number; readonly byOldKeys: boolean };

type Refused = Extract<Reading, { kind: 'inactive' }>;
type Told = Extract<Reading, { kind: 'facts' }>;

interface Flight {
  readonly issuer: string;
  readonly yieldsTo: Yielding | undefined;
  readonly began: FetchBegin;
  readonly landed: Promise<Fetched>;
}

/** An authority that has always been quick may not be this time. */
const shortestWaitMs = 100;

/** Where facts come from. */
export class FactsStore {
  readonly #parts: FactsParts;
  readonly #kept: KeptFacts;
  readonly #flights = new Map<string, Flight>();
  /** Who keeps nothing shares nothing. */
  readonly #shared: FactsParts['shared'];

  constructor(parts: FactsParts) {
    this.#parts = parts;
    this.#kept = new KeptFacts(parts);
    this.#shared = parts.limits.enabled ? parts.shared : undefined;
  }

  entries(tier: 'memory' | 'unknown'): number {
    return this.#kept.entries(tier);
  }

  get bytes(): number {
    return this.#kept.bytes;
  }

  /** Fetches under way. */
  flightsTo(issuer: string): number {
    return [...this.#flights.values()].filter((flight) => flight.issuer === issuer).length;
  }

  /** Whether a fetch that gives way would be begun now, or is under way already. */
  hasRoom(wanted: Wanted & { readonly yieldsTo: Yielding }): boolean {
    return this.#flights.has(flightOf(wanted)) || this.#parts.authorities.hasRoom(wanted.issuer, wanted.yieldsTo);
  }

  queued(issuer: string): number {
    return this.#parts.authorities.queued(issuer);
  }

  /** The public name of a token, known here or not. */
  fingerprintOf(digest: string): string {
    return this.#parts.tagger.fingerprints(digest)[0] ?? '';
  }

  /** Facts in memory, however old. */
  find(digest: string): Known | undefined {
    return this.#kept.find(digest);
  }

  /** What the shared tier holds of a token that is dead is not to be found by anybody; nobody waits for that. */
  forgetShared(digest: string, issuer: Issuer | undefined): void {
    if (this.#shared && (!issuer || this.#shared.tier.serves(issuer))) void this.#shared.tier.forget(digest);
  }

  /** A refusal that still holds: not older than its time, and no REFRESH about what the token was has been applied since. */
  refused(token: AskedToken): boolean {
    return this.#kept.refused(token);
  }

  /** Facts in the shared tier, however old; `missing` where there is no such tier. By a digest they are in memory then, too. */
  async findShared(by: { readonly digest: string } | { readonly fingerprint: string }): Promise<SharedFacts> {
    const tier = this.#shared?.tier;
    if (!tier) return 'missing';
    if ('fingerprint' in by) return this.#unlessRefused(await tier.findByFingerprint(by.fingerprint));
    const found = this.#unlessRefused(await tier.find(by.digest, ''));
    if (typeof found !== 'string') this.#adopt(by.digest, found);
    return found;
  }

  #unlessRefused(found: SharedFacts): SharedFacts {
    return typeof found !== 'string' && this.#kept.isOutdated(found) ? 'missing' : found;
  }

  /** Facts out of the shared tier; answers them. */
  #adopt(digest: string, known: Known): Known {
    this.#kept.remember(digest, known);
    this.#parts.learned?.(known, false);
    return known;
  }

  /**
   * What the journal says of a token whose facts are not known here: whether it has been revoked by possession. `issuer` undefined:
   * whose it is is not known either, and it is looked for by its fingerprint alone.
   */
  coveringUnseen({
    digest,
    raw,
    issuer,
  }: {
    readonly digest: string;
    readonly raw: string;
    readonly issuer: Issuer | undefined;
  }): Covering {
    const { tagger, invalidations } = this.#parts;
    const content = { dimension: 'signed_content' as const, value: signedContentOf(raw) };
    const ids = hashIdsOf(raw).map((value) => ({ dimension: 'identity' as const, value }));
    const known = content.value === undefined ? ids : [content, ...ids];
    const attributes = tagger.attributes(issuer?.name ?? '', known, tagger.fingerprints(digest));
    return invalidations.coveringOf({ attributes, issuedAtMs: undefined, canAsk: issuer?.canAsk ?? true });
  }

  /**
   * Facts whose fetch began at or after this call, as far as a REFRESH applied before it demands that: joins the running flight, and
   * one more where that one began too early (S6). The caller leaves by its own signal; the flight ends by its own deadline.
   * Throws as TokenFormat.read, UNAVAILABLE / UPSTREAM_BUSY where it gives way, and DEADLINE_EXCEEDED by the caller's signal.
   */
  async fetch(wanted: Wanted, signal: AbortSignal): Promise<Fetched> {
    const { issuer, suits } = wanted;
    const arrivedAt = this.#parts.invalidations.applied;
    // What others began after this call may have been looked for by their measure, so it is judged again; the next one is its own.
    for (let joined = 0; joined < 2; ) {
      const running = this.#flights.get(flightOf(wanted));
      if (!running) break;
      this.#waiters(issuer).add();
      const landed = await leaving(running.landed, signal).catch((error: unknown) => {
        // It gave way to others, and nobody was asked: this call need not, or not so far.
        if (isBusy(error) && running.yieldsTo !== undefined && running.yieldsTo !== wanted.yieldsTo) return undefined;
        throw error;
      });
      // Counted, each of many that wait would ask for itself.
      if (!landed) continue;
      joined += 1;
      const isBehind = running.began.revision < arrivedAt && this.#isBehind(landed, wanted, arrivedAt);
      if (!isBehind && (landed.kind === 'inactive' || suits?.(landed.known) !== false)) return landed;
    }
    return leaving(this.#fly(wanted).landed, signal);
  }

  /**
   * Has facts that are in use confirmed again, before their time is over; nobody waits for it. Once for each record, and not while
   * others wait for the authority: those are in more of a hurry.
   */
  refreshAhead(known: Known, wanted: Wanted): void {
    const { authorities, telemetry, limits, clock } = this.#parts;
    if (authorities.queued(wanted.issuer.name) > 0 || this.#flights.has(flightOf(wanted))) return;
    // Where it fails, another hit tries again a while later.
    known.refreshFromMs = clock.monotonicMs() + (limits.timeMs * (1 - limits.refreshAhead)) / 4;
    telemetry.counter('sidegate_refreshed_ahead_total', { issuer: wanted.issuer.name }).add();
    this.#fly({
      ...wanted,
      suits: (other) => other.began.monotonicMs > known.began.monotonicMs && clock.monotonicMs() < other.refreshFromMs,
    });
  }

  /** Something that matches was applied after its fetch began. */
  #isBehind(landed: Fetched, { catalog }: Wanted, arrivedAt: number): boolean {
    if (landed.kind === 'inactive') return landed.revision < arrivedAt;
    const { known } = landed;
    const { invalidations, catalogs } = this.#parts;
    const newest = Math.max(newestRefreshOf(invalidations.covering(known)), catalog ? catalogs.newestRefresh(known) : 0);
    return newest > known.began.revision;
  }

  #fly(wanted: Wanted): Flight {
    const { clock, invalidations } = this.#parts;
    const key = flightOf(wanted);
    const began = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs(), revision: invalidations.applied };
    const landed = this.#land(wanted, began).finally(() => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    const flight: Flight = { issuer: wanted.issuer.name, yieldsTo: wanted.yieldsTo, began, landed };
    this.#flights.set(key, flight);
    // Its waiters may all have left by the time it fails.
    landed.catch(() => undefined);
    return flight;
  }

  /** From the shared tier where it has what suits; else from the authority, once for all sidecars that want it now. */
  async #land(wanted: Wanted, began: FetchBegin): Promise<Fetched> {
    const { authorities } = this.#parts;
    const shared = this.#shared;
    const { issuer, digest } = wanted;
    const deadline = AbortSignal.timeout(issuer.calls.deadlineMs);
    if (!asksAbout(issuer, wanted.raw) || !shared?.tier.serves(issuer)) return (await this.#ask(wanted, began, deadline)).fetched;
    let stale: Known | undefined;
    const look = async (): Promise<Fetched | undefined> => {
      const found = await this.#look(wanted);
      if (found && 'stale' in found) stale = found.stale;
      return found && 'kind' in found ? found : undefined;
    };
    const found = await look();
    if (found) return found;
    // Two leases are waited for: half of the deadline is left for the fetch.
    const waitMs = Math.min(Math.max(2 * authorities.p99Ms(issuer), shortestWaitMs), issuer.calls.deadlineMs / 4);
    let done = async (): Promise<void> => undefined;
    try {
      const turn = await shared.leases.take({ name: leaseOf(digest), waitMs, look }, deadline);
      if (turn.kind === 'found') return turn.found;
      done = turn.done;
      // A REFRESH may have come while the lease was waited for: what is asked now is asked after it.
      const { clock, invalidations } = this.#parts;
      const beganToAsk = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs(), revision: invalidations.applied };
      const { fetched, kept } = await this.#ask(wanted, beganToAsk, deadline);
      void kept.then(done);
      return fetched;
    } catch (error) {
      void done();
      // Past their time, but better than none to whoever says so (`stale_if_unavailable`).
      if (stale) this.#adopt(digest, stale);
      if (error instanceof SidecarError || !deadline.aborted) throw error;
      const message = `issuer "${issuer.name}" was not asked in time`;
      throw new SidecarError('UNAVAILABLE', message, { reason: 'UPSTREAM_TIMEOUT', retryAfterMs: 1000, cause: error });
    }
  }

  /** What the shared tier has for `wanted`; or, as `stale`, facts that only the absence of the authority would make good enough. */
  async #look(wanted: Wanted): Promise<Extract<Fetched, { kind: 'known' }> | { readonly stale: Known } | undefined> {
    const { catalogs, clock } = this.#parts;
    const shared = this.#shared;
    const { digest, raw, issuer, suits } = wanted;
    const inMemory = wanted.catalog ? this.find(digest) : undefined;
    const serves = (known: Known): boolean => clock.monotonicMs() < known.freshUntilMs && suits?.(known) !== false;
    if (!shared) return undefined;
    const found = inMemory && serves(inMemory) ? inMemory : this.#unlessRefused(await shared.tier.find(digest, raw, issuer));
    if (typeof found === 'string') return undefined;
    if (!serves(found)) return { stale: found };
    const known = found === inMemory ? found : this.#adopt(digest, found);
    if (!wanted.catalog) return { kind: 'known', known, from: 'shared' };
    const inTier = catalogs.find(known) === undefined ? await shared.tier.findCatalog(known) : undefined;
    if (inTier) catalogs.keep(known, inTier);
    const catalog = inTier?.catalog ?? catalogs.find(known);
    return catalog && { kind: 'known', known, from: 'shared', catalog };
  }

  /** Asks, and keeps what is said. `kept` resolves when it is where the other sidecars look. */
  async #ask(
    wanted: Wanted,
    began: FetchBegin,
    deadline: AbortSignal,
  ): Promise<{ readonly fetched: Fetched; readonly kept: Promise<unknown> }> {
    const { issuer, raw, catalog = false, allowExpired = false, yieldsTo } = wanted;
    const reading = await this.#parts.authorities.read(issuer, raw, deadline, { catalog, allowExpired, yieldsTo });
    if (reading.kind === 'inactive') return { fetched: this.#refused(wanted, reading, began), kept: Promise.resolve() };
    return this.#told(wanted, reading, began);
  }

  #told(wanted: Wanted, reading: Told, began: FetchBegin): { readonly fetched: Fetched; readonly kept: Promise<unknown> } {
    const { tagger, codec, limits, random, clock, catalogs } = this.#parts;
    const shared = this.#shared;
    const { digest, raw, issuer } = wanted;
    const names = namesOf(digest, raw, tagger);
    const parts = { issuer, names, facts: reading.facts, provenance: reading.provenance, began };
    const known = knownOf({ ...parts, ...lifeWith(limits, random) }, tagger, codec);
    const catalog = reading.catalog === undefined ? undefined : Buffer.from(reading.catalog, 'utf8');
    const fetched = {
      kind: 'known' as const,
      known,
      from: reading.provenance,
      ...(wanted.catalog ? { catalog: catalog ?? new Uint8Array() } : {}),
    };
    // Who waited for it is told what was true when it was asked; nobody else is.
    if (!this.#kept.learn(wanted, known)) return { fetched, kept: Promise.resolve() };
    this.#parts.learned?.(known, shared?.tier.mayUse(issuer) === true);
    if (catalog) catalogs.keep(known, { catalog, began });
    const kept = shared?.tier.mayUse(issuer)
      ? [
          shared.tier.keep(known, reading.facts, names),
          catalog && shared.tier.keepCatalog(known, { catalog, began }),
          shared.handles?.keep(digest, raw, known.standing.endsAtMs + issuer.expiredWithinMs - clock.nowMs()),
        ]
      : [];
    return { fetched, kept: Promise.all(kept) };
  }

  #refused(wanted: Wanted, { reason, byOldKeys }: Refused, began: FetchBegin): Fetched {
    this.#kept.refuse(wanted, reason === 'REFUSED', began);
    // In a mass refusal one sidecar must not empty the tier of all. What nobody is asked about is not in it.
    if (!this.#kept.inMassRefusal && asksAbout(wanted.issuer, wanted.raw)) this.forgetShared(wanted.digest, wanted.issuer);
    return { kind: 'inactive', reason, revision: began.revision, byOldKeys: byOldKeys === true };
  }

  #waiters(issuer: Issuer): { add(n?: number): void } {
    return this.#parts.telemetry.counter('sidegate_flight_waiters_total', { issuer: issuer.name });
  }
}

/** The same on every sidecar, whatever its keys; and nothing that opens anything. */
function leaseOf(digest: string): string {
  return deriveKey(Buffer.from(digest, 'latin1'), 'lease name').toString('base64url');
}

/** One flight for those who want the same. */
function flightOf({ digest, catalog, allowExpired }: Wanted): string {
  return `${catalog ? 'c' : ''}${allowExpired ? 'e' : ''}${digest}`;
}

/** The caller leaves; the flight goes on for the others. */
function leaving<Value>(landed: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return orAborted(landed, signal).catch((error: unknown) => {
    if (error instanceof SidecarError || !signal.aborted) throw error;
    throw new SidecarError('DEADLINE_EXCEEDED', 'no answer before the deadline', { reason: 'DEADLINE', cause: error });
  });
}
