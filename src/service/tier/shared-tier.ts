// Facts and catalogs in the tier that sidecars share: found, judged, kept.

import { currentnessOf, isSettled } from '../../core/currentness.ts';
import type { Tagger } from '../../core/tag.ts';
import type { Facts } from '../../core/token.ts';
import type { Clock, SharedCache, SharedFinding, Telemetry } from '../../ports.ts';
import { CatalogSubjects } from '../catalog-subject.ts';
import type { FetchedCatalog } from '../catalogs.ts';
import type { Degradations } from '../degradation.ts';
import type { Invalidations } from '../invalidations.ts';
import type { Issuer } from '../issuer.ts';
import { type FactsTimes, type FetchBegin, type Known, knownOf, lifeWith, namesOf, type TokenCodec, type TokenNames } from '../known.ts';
import {
  afterRefreshes,
  beganHere,
  type CatalogRecord,
  decodeRecord,
  encodeRecord,
  type FactsRecord,
  type Here,
  type WrittenBegin,
  type WrittenNames,
} from './records.ts';

/** What the tier's user needs. */
export interface SharedFactsParts {
  readonly shared: SharedCache;
  readonly issuers: readonly Issuer[];
  readonly invalidations: Invalidations;
  readonly tagger: Tagger;
  readonly codec: TokenCodec;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly degradations: Degradations;
  readonly limits: FactsTimes;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  /** How long records are worth keeping: their time, and what may be asked for beyond it. */
  readonly keepMs: number;
  readonly catalogTimeMs: number;
  readonly settleMs: number;
  readonly skewMs: number;
  /** Records tell the handle too. */
  readonly handles: boolean;
}

/** `unreachable`: a server did not answer, so nobody knows. */
export type SharedFacts = Known | 'missing' | 'unreachable';

/** The shared tier as the facts store uses it. Nothing in here throws because of the tier, nor waits longer than its deadline. */
export class SharedTier {
  readonly #parts: SharedFactsParts;
  readonly #count: (outcome: 'hit' | 'miss' | 'stale' | 'error' | 'unreadable') => void;
  readonly #catalogs: CatalogSubjects;
  lookups = 0;
  hits = 0;

  constructor(parts: SharedFactsParts) {
    this.#parts = parts;
    this.#catalogs = new CatalogSubjects(parts.tagger);
    const counters = new Map<string, { add(n?: number): void }>(
      ['hit', 'miss', 'stale', 'error', 'unreadable'].map((outcome) => [
        outcome,
        parts.telemetry.counter('sidegate_cache_lookups_total', { tier: 'shared', outcome }),
      ]),
    );
    this.#count = (outcome) => counters.get(outcome)?.add();
  }

  get cache(): SharedCache {
    return this.#parts.shared;
  }

  /** Whether this sidecar may read and write what concerns an issuer: not while the clocks differ (S1). */
  mayUse(issuer: Issuer): boolean {
    return !this.#parts.degradations.by(issuer.name).includes('CLOCK');
  }

  /** Whether facts of its tokens are shared: not where nobody is asked about them. */
  serves(issuer: Issuer): boolean {
    return issuer.canAsk && this.mayUse(issuer);
  }

  /**
   * The facts of the token that this sidecar's rules allow to be used; older ones than its `time` too, which are not fresh. `raw` may
   * be empty where only the digest is known. `issuer`: whose token it must be; absent: that of the record.
   */
  async find(digest: string, raw: string, issuer?: Issuer): Promise<SharedFacts> {
    const names = namesOf(digest, raw, this.#parts.tagger);
    return this.#findUnder(names.fingerprints, (record) => (raw === '' ? withWritten(names, record) : names), issuer);
  }

  /** The same by a public name. */
  findByFingerprint(fingerprint: string): Promise<SharedFacts> {
    const { tagger } = this.#parts;
    return this.#findUnder([fingerprint], (record) => {
      if (record.digest !== undefined) return withWritten(namesOf(record.digest, '', tagger), record);
      // Without its name under each key of ours, nobody could tell that it has been revoked.
      return tagger.keyIds.every((keyId) => record.keyIds.includes(keyId)) ? withWritten(record, record) : undefined;
    });
  }

  /** What the authority has refused is not to be found by anybody. */
  async forget(digest: string): Promise<void> {
    const { shared, tagger } = this.#parts;
    await Promise.all(tagger.fingerprints(digest).map((fingerprint) => shared.remove(`facts ${fingerprint}`)));
  }

  async #findUnder(
    fingerprints: readonly string[],
    namesWith: (record: WrittenNames) => TokenNames | undefined,
    issuer?: Issuer,
  ): Promise<SharedFacts> {
    const findings = await Promise.all(fingerprints.map((fingerprint) => this.#parts.shared.get(`facts ${fingerprint}`)));
    this.lookups += 1;
    const record = this.#recordIn<FactsRecord>(findings, 'facts');
    if (typeof record === 'string') return record;
    const known = this.#adopt(record, namesWith(record.names), issuer);
    if (!known) {
      this.#count('stale');
      return 'missing';
    }
    this.hits += 1;
    this.#count('hit');
    return known;
  }

  /** Keeps facts that are settled. */
  async keep(known: Known, facts: Facts, names: TokenNames): Promise<void> {
    const { shared, clock, keepMs, handles } = this.#parts;
    if (!known.canAsk || !this.serves(known.issuer) || !this.#isSettled(known, known.began)) return;
    const record: FactsRecord = {
      issuer: known.issuer.name,
      began: this.#written(known.began),
      names: handles ? names : withoutSecrets(names),
      facts,
    };
    const endsInMs = known.standing.endsAtMs + known.issuer.expiredWithinMs - clock.nowMs();
    const lifeMs = Math.min(keepMs - (clock.monotonicMs() - known.began.monotonicMs), endsInMs);
    const [fingerprint = ''] = names.fingerprints;
    await shared.set(`facts ${fingerprint}`, encodeRecord(record), lifeMs);
  }

  /** The catalog of `known`, where it is young enough and no REFRESH of the token or of catalogs has come since. */
  async findCatalog(known: Known): Promise<FetchedCatalog | undefined> {
    const { shared, invalidations, catalogTimeMs, settleMs } = this.#parts;
    if (known.catalogName === undefined || !known.canAsk || !this.serves(known.issuer)) return undefined;
    const record = this.#recordIn<CatalogRecord>([await shared.get(catalogKey(known.issuer, known.catalogName))], 'catalog');
    if (typeof record === 'string') return undefined;
    const here = this.#here();
    const tentative = beganHere(record.began, here);
    if (!tentative || here.monotonicMs - tentative.monotonicMs >= catalogTimeMs) return undefined;
    const ofCatalogs = invalidations.coveringOf(this.#catalogs.of(known.issuer.name, known.catalogName));
    const begins = [invalidations.covering(known), ofCatalogs].map((covering) => {
      const began = afterRefreshes(tentative, record.began, covering, here);
      return began && currentnessOf(began, covering, { nowMs: here.monotonicMs, settleMs }) === 'current' ? began : undefined;
    });
    const [began] = begins;
    if (!began || begins.includes(undefined)) return undefined;
    return { catalog: Buffer.from(record.catalog, 'utf8'), began };
  }

  async keepCatalog(known: Known, { catalog, began }: FetchedCatalog): Promise<void> {
    const { shared, clock, catalogTimeMs, invalidations, settleMs } = this.#parts;
    if (known.catalogName === undefined || !known.canAsk || !this.serves(known.issuer) || !this.#isSettled(known, began)) return;
    const ofCatalogs = invalidations.coveringOf(this.#catalogs.of(known.issuer.name, known.catalogName));
    if (!isSettled(began, ofCatalogs, settleMs)) return;
    const record: CatalogRecord = { began: this.#written(began), catalog: Buffer.from(catalog).toString('utf8') };
    const lifeMs = catalogTimeMs - (clock.monotonicMs() - began.monotonicMs);
    await shared.set(catalogKey(known.issuer, known.catalogName), encodeRecord(record), lifeMs);
  }

  /** A REFRESH that came while it was fetched, or shortly before, may not be in it yet (S6, S7); and nobody is given what is dead here. */
  #isSettled(known: Known, began: FetchBegin): boolean {
    const { invalidations, settleMs } = this.#parts;
    const covering = invalidations.covering(known);
    return covering.revoked === undefined && isSettled(began, covering, settleMs);
  }

  /** The one that was fetched last, where sidecars with different newest keys have written several. */
  #recordIn<Kind extends FactsRecord | CatalogRecord>(
    findings: readonly SharedFinding[],
    has: keyof Kind,
  ): Kind | 'missing' | 'unreachable' {
    let newest: Kind | undefined;
    for (const finding of findings) {
      const record = finding.kind === 'found' ? decodeRecord<Kind>(finding.value, has) : undefined;
      if (record && record.began.wallMs > (newest?.began.wallMs ?? -Infinity)) newest = record;
    }
    if (newest) return newest;
    const kinds = findings.map((finding) => finding.kind);
    if (kinds.includes('unreachable')) {
      this.#count('error');
      return 'unreachable';
    }
    this.#count(kinds.includes('unreadable') || kinds.includes('found') ? 'unreadable' : 'miss');
    return 'missing';
  }

  #adopt(record: FactsRecord, names: TokenNames | undefined, wanted: Issuer | undefined): Known | undefined {
    const { tagger, codec, invalidations, limits, random, issuers } = this.#parts;
    const issuer = issuers.find((one) => one.name === record.issuer);
    if (!issuer || !names || (wanted && wanted !== issuer) || !this.serves(issuer)) return undefined;
    const here = this.#here();
    const tentative = beganHere(record.began, here);
    if (!tentative) return undefined;
    const parts = { issuer, names, facts: record.facts, provenance: 'authority' as const, began: tentative };
    const known = knownOf({ ...parts, ...lifeWith(limits, random) }, tagger, codec);
    const began = afterRefreshes(tentative, record.began, invalidations.covering(known), here);
    return began && { ...known, began };
  }

  #written({ wallMs, revision }: FetchBegin): WrittenBegin {
    return { wallMs, revision, journal: this.#parts.invalidations.journal.id };
  }

  #here(): Here {
    const { invalidations, clock, settleMs, skewMs } = this.#parts;
    const { journal } = invalidations;
    return {
      journal: journal.id,
      journalBornAtMs: journal.bornAtMs,
      applied: invalidations.applied,
      nowMs: clock.nowMs(),
      monotonicMs: clock.monotonicMs(),
      settleMs,
      skewMs,
    };
  }
}

/** Names that the token's string gives, and that is not at hand; undefined where some are not written either: nobody could tell that one kills it. */
function withWritten(names: WrittenNames, { signedContent, hashIds }: WrittenNames): TokenNames | undefined {
  return hashIds && { ...names, signedContent, hashIds };
}

function withoutSecrets({ hashIds, ...names }: TokenNames): WrittenNames {
  return { ...names, digest: undefined, ...(hashIds.length === 0 && { hashIds }) };
}

function catalogKey(issuer: Issuer, catalogName: string): string {
  return `catalog ${issuer.name} ${catalogName}`;
}
