// The live invalidations by selector: which of them cover a token.

import { type Dimension, dimensions } from './attributes.ts';
import { broadNumbers, isBroadSet, namesOneTokenSet, refreshes, type SpreadTimes, spreadOf, widened } from './entry-rules.ts';
import type { Entry, PlacedEntry } from './invalidation.ts';
import type { Selector } from './selector.ts';
import { SelectorTable } from './selector-table.ts';
import { placeOf, type Slot, SpreadWindows, withoutNeedless } from './spread.ts';
import { numberOf, type Tag, type TaggedAttributes, type Tagger, type TagSet, unknownBit } from './tag.ts';

/** The pairs that selectors may name besides every single attribute (S3). Others are scanned, up to `residualLimit`. */
const pairForms: readonly (readonly [Dimension, Dimension])[] = [
  ['user', 'project'],
  ['user', 'domain'],
  ['user', 'role'],
  ['project', 'role'],
  ['chain', 'project'],
];

/** How many selectors of other forms are kept and scanned (S3). */
export const residualLimit = 1000;

/** The REVOKE that kills a token. */
export interface Revoked {
  readonly revision: number;
  /** `Infinity`: whenever issued. */
  readonly issuedBeforeMs: number;
  readonly learnedAtMs: number;
  readonly forgetAtMs: number;
}

/** What the live invalidations mean for one token. */
export interface Covering {
  readonly revoked: Revoked | undefined;
  /** Facts learned before this revision was applied are stale; 0: none. */
  readonly refreshRevision: number;
  /** When this sidecar applied it, monotonic milliseconds: what settling is counted from (S6). */
  readonly refreshAppliedMs: number;
  /** The same of the newest broad one: so as far as there is room to ask, beyond that facts serve until their slot (S7). */
  readonly broadRevision: number;
  readonly broadAppliedMs: number;
  /** What those that are spread, and the broad ones, have it due for. Nearly always the one that is empty. */
  readonly slots: readonly Slot[];
}

const noSlots: readonly Slot[] = [];

/** Nothing covers it. */
export const uncovered: Covering = {
  revoked: undefined,
  refreshRevision: 0,
  refreshAppliedMs: -Infinity,
  broadRevision: 0,
  broadAppliedMs: -Infinity,
  slots: noSlots,
};

/** What of a token decides whether an invalidation that fits it also kills it. */
export interface Coverable {
  readonly attributes: TaggedAttributes;
  /** Whole seconds, in milliseconds. */
  readonly issuedAtMs: number | undefined;
  /** An authority can be asked again: what is only maybe killed is then refreshed instead (S2, S4). */
  readonly canAsk: boolean;
  /** What its place in a window is made of; absent: it is the first. */
  readonly fingerprint?: string;
}

/** A selector of another form: its record is found by its key like any other, whom it fits only by a look at each token. */
interface Residual {
  readonly set: TagSet;
  readonly key: Tag;
  readonly fit: Fit;
  forgetAtMs: number;
}

/**
 * Agrees with the one-line model `entries.some((entry) => fits(entry, token))` for every input that it has room for; the property test says so.
 * Cost of `covering`: attributes × forms in use (S3), whatever the number of entries.
 */
export class InvalidationIndex {
  readonly #tagger: Tagger;
  readonly #times: SpreadTimes;
  readonly #table: RecordTable = newTable();
  readonly #wide: SpreadWindows;
  readonly #broad: SpreadWindows;
  readonly #singlesInUse = new Uint8Array(dimensions.length);
  readonly #pairsInUse = new Uint8Array(pairForms.length);
  /** By the text of their keys. */
  readonly #residual = new Map<string, Residual>();
  /** How many of those are selectors themselves, and not what they may be where a dimension is not told. */
  #residualSelectors = 0;

  constructor(tagger: Tagger, times: SpreadTimes) {
    this.#tagger = tagger;
    this.#times = times;
    this.#wide = new SpreadWindows({ settleMs: times.settleMs, blocks: false });
    this.#broad = new SpreadWindows({ settleMs: times.settleMs, blocks: true });
  }

  /** Records held. */
  get size(): number {
    return this.#table.size;
  }

  /** Whether an entry with this selector can be kept: always, if its form is indexed; others only up to `residualLimit` (S3). */
  hasRoomFor(selector: Selector): boolean {
    if (selector.kind === 'everything' || isIndexed(selector.conditions.map((condition) => condition.dimension))) return true;
    if (this.#residualSelectors < residualLimit) return true;
    const [set] = this.#tagger.tagSets(selector);
    return set !== undefined && this.#residual.has(textOf(residualKey(set)));
  }

  /**
   * Applies an entry. `appliedMs`: monotonic. Entries come in the order of their revisions; one may come twice. False: there was no room for
   * its form, and it concerns more tokens than it says (`widened`).
   */
  add(placed: PlacedEntry, appliedMs: number, sets: readonly TagSet[] = this.#tagger.tagSets(placed.entry.selector)): boolean {
    if (!this.hasRoomFor(placed.entry.selector)) {
      const entry = widened(placed.entry);
      return this.add({ ...placed, entry }, appliedMs, this.#tagger.tagSets(entry.selector)) && false;
    }
    for (const set of sets) this.#merge(this.#keyOf(set) ?? this.#scanned(set, placed.entry), placed, appliedMs, set);
    return true;
  }

  /** What the live invalidations mean for this token. */
  covering(token: Coverable): Covering {
    const found = new Found(token, { table: this.#table, wide: this.#wide, broad: this.#broad });
    const { tags, dimensions: numbers } = token.attributes;
    for (let at = 0; at < numbers.length; at += 1) {
      const number = numbers[at] ?? 0;
      if (this.#singlesInUse[number & ~unknownBit] === 0) continue;
      const isBroad = broadNumbers[number & ~unknownBit] === 1;
      found.look(tags[2 * at] ?? 0, tags[2 * at + 1] ?? 0, { isExact: (number & unknownBit) === 0, isBroad });
    }
    for (let form = 0; form < pairForms.length; form += 1) {
      if (this.#pairsInUse[form] !== 0) this.#lookPairs(found, form, token.attributes);
    }
    for (const { set, key, fit } of this.#residual.values()) if (fitsAll(set, token.attributes)) found.look(key.low, key.high, fit);
    return found.covering();
  }

  /** Forgets what can concern no token any more (S12), a part of the table each time. */
  sweep(nowMs: number): void {
    for (const one of [this.#table, this.#wide, this.#broad]) one.sweep(nowMs);
    for (const [text, { set, forgetAtMs }] of this.#residual) {
      if (forgetAtMs >= nowMs) continue;
      this.#residual.delete(text);
      if (set.exact) this.#residualSelectors -= 1;
    }
  }

  #scanned(set: TagSet, { forgetAtMs }: Entry): Tag {
    const key = residualKey(set);
    const text = textOf(key);
    const there = this.#residual.get(text);
    if (there) there.forgetAtMs = Math.max(there.forgetAtMs, forgetAtMs);
    else {
      this.#residual.set(text, { set, key, fit: { isExact: set.exact, isBroad: isBroadSet(set) }, forgetAtMs });
      if (set.exact) this.#residualSelectors += 1;
    }
    return key;
  }

  #keyOf(set: TagSet): Tag | undefined {
    const [first, second] = set.tags;
    const [firstDimension, secondDimension] = set.dimensions;
    if (set.tags.length === 1 && first && firstDimension) {
      this.#singlesInUse[numberOf(firstDimension)] = 1;
      return first;
    }
    if (set.tags.length !== 2 || !first || !second) return undefined;
    for (const [form, [one, other]] of pairForms.entries()) {
      const straight = one === firstDimension && other === secondDimension;
      if (!straight && !(one === secondDimension && other === firstDimension)) continue;
      this.#pairsInUse[form] = 1;
      return straight ? pairKey(first.low, first.high, second.low, second.high) : pairKey(second.low, second.high, first.low, first.high);
    }
    return undefined;
  }

  #merge(key: Tag, { revision, entry }: PlacedEntry, appliedMs: number, set: TagSet): void {
    const table = this.#table;
    const at = table.upsert(key.low, key.high);
    const { forgetAtMs } = entry;
    table.set(at, 'forgetAtMs', Math.max(table.get(at, 'forgetAtMs'), forgetAtMs));
    if (entry.effect === 'REVOKE') {
      const issuedBeforeMs = namesOneTokenSet(set) ? Infinity : (entry.issuedBeforeMs ?? Infinity);
      if (issuedBeforeMs > table.get(at, 'issuedBeforeMs')) {
        table.set(at, 'issuedBeforeMs', issuedBeforeMs);
        table.set(at, 'revokeRevision', revision);
        table.set(at, 'revokeLearnedAtMs', entry.learnedAtMs);
        table.set(at, 'revokeForgetAtMs', forgetAtMs);
      }
      if (revision > table.get(at, 'newestRevokeRevision')) {
        table.set(at, 'newestRevokeRevision', revision);
        table.set(at, 'newestRevokeAppliedMs', appliedMs);
      }
    }
    if (!refreshes(entry)) return;
    const spreadMs = spreadOf(entry, this.#times);
    if (spreadMs !== undefined) {
      this.#wide.add(key, { appliedMs, spreadMs, revision, forgetAtMs });
      return;
    }
    if (revision > table.get(at, 'refreshRevision')) {
      table.set(at, 'refreshRevision', revision);
      table.set(at, 'refreshAppliedMs', appliedMs);
    }
    if (isBroadSet(set)) this.#broad.add(key, { appliedMs, spreadMs: this.#times.wideWindowMs, revision, forgetAtMs });
  }

  #lookPairs(found: Found, form: number, { tags, dimensions: numbers }: TaggedAttributes): void {
    const pair = pairForms[form];
    if (!pair) return;
    const first = numberOf(pair[0]);
    const second = numberOf(pair[1]);
    const isBroad = broadNumbers[first] === 1 && broadNumbers[second] === 1;
    for (let a = 0; a < numbers.length; a += 1) {
      const one = numbers[a] ?? 0;
      if ((one & ~unknownBit) !== first) continue;
      for (let b = 0; b < numbers.length; b += 1) {
        const other = numbers[b] ?? 0;
        if ((other & ~unknownBit) !== second) continue;
        const key = pairKey(tags[2 * a] ?? 0, tags[2 * a + 1] ?? 0, tags[2 * b] ?? 0, tags[2 * b + 1] ?? 0);
        found.look(key.low, key.high, { isExact: ((one | other) & unknownBit) === 0, isBroad });
      }
    }
  }
}

/** Where selectors are looked up. */
interface Records {
  readonly table: RecordTable;
  readonly wide: SpreadWindows;
  readonly broad: SpreadWindows;
}

/** How a selector that was found fits the token. */
interface Fit {
  /** False: a dimension is not told, and it is only a maybe. */
  readonly isExact: boolean;
  readonly isBroad: boolean;
}

/** Gathers what fits one token; the rules of S4 about what kills it. */
class Found {
  readonly #token: Coverable;
  readonly #records: Records;
  #revoked: Revoked | undefined;
  #refreshRevision = 0;
  #refreshAppliedMs = -Infinity;
  #broadRevision = 0;
  #broadAppliedMs = -Infinity;
  #slots: Slot[] | undefined;

  constructor(token: Coverable, records: Records) {
    this.#token = token;
    this.#records = records;
  }

  look(low: number, high: number, { isExact, isBroad }: Fit): void {
    const { table, wide, broad } = this.#records;
    const at = table.find(low, high);
    if (at < 0) return;
    const refreshRevision = table.get(at, 'refreshRevision');
    if (refreshRevision > 0 && isBroad) this.#refreshBroadly(refreshRevision, table.get(at, 'refreshAppliedMs'));
    else if (refreshRevision > 0) this.#refresh(refreshRevision, table.get(at, 'refreshAppliedMs'));
    if (isBroad && broad.size > 0) broad.addSlots(low, high, this.#place(), this.#slotsToFill());
    if (wide.size > 0) wide.addSlots(low, high, this.#place(), this.#slotsToFill());
    const issuedBeforeMs = table.get(at, 'issuedBeforeMs');
    if (issuedBeforeMs === -Infinity) return;
    const verdict = this.#verdict(issuedBeforeMs, isExact);
    if (verdict === 'killed') {
      this.#kill({
        revision: table.get(at, 'revokeRevision'),
        issuedBeforeMs,
        learnedAtMs: table.get(at, 'revokeLearnedAtMs'),
        forgetAtMs: table.get(at, 'revokeForgetAtMs'),
      });
    }
    if (verdict === 'maybe') this.#refresh(table.get(at, 'newestRevokeRevision'), table.get(at, 'newestRevokeAppliedMs'));
  }

  covering(): Covering {
    const slots = this.#slots?.length ? withoutNeedless(this.#slots) : noSlots;
    if (!this.#revoked && this.#refreshRevision === 0 && this.#broadRevision === 0 && slots.length === 0) return uncovered;
    return {
      revoked: this.#revoked,
      refreshRevision: this.#refreshRevision,
      refreshAppliedMs: this.#refreshAppliedMs,
      broadRevision: this.#broadRevision,
      broadAppliedMs: this.#broadAppliedMs,
      slots,
    };
  }

  #place(): number {
    return placeOf(this.#token.fingerprint);
  }

  #slotsToFill(): Slot[] {
    this.#slots ??= [];
    return this.#slots;
  }

  /**
   * S4. Inclusive, whole seconds on both sides: a token issued in the second of the cut-off is dead. What is not certain (a dimension
   * or the issue time is not told) is a REFRESH where an authority can be asked, whatever the cut-off; where none can, it kills.
   */
  #verdict(issuedBeforeMs: number, exact: boolean): 'killed' | 'maybe' | 'spared' {
    const { issuedAtMs, canAsk } = this.#token;
    const certain = exact && (issuedAtMs !== undefined || issuedBeforeMs === Infinity);
    if (!certain && canAsk) return 'maybe';
    return issuedAtMs !== undefined && issuedAtMs > issuedBeforeMs ? 'spared' : 'killed';
  }

  #kill(revoked: Revoked): void {
    // The greatest cut-off is told; of equals the oldest, which is the one that has held longest.
    const best = this.#revoked;
    const better =
      !best ||
      revoked.issuedBeforeMs > best.issuedBeforeMs ||
      (revoked.issuedBeforeMs === best.issuedBeforeMs && revoked.revision < best.revision);
    if (better) this.#revoked = revoked;
  }

  #refreshBroadly(revision: number, appliedMs: number): void {
    if (revision <= this.#broadRevision) return;
    this.#broadRevision = revision;
    this.#broadAppliedMs = appliedMs;
  }

  #refresh(revision: number, appliedMs: number): void {
    if (revision <= this.#refreshRevision) return;
    this.#refreshRevision = revision;
    this.#refreshAppliedMs = appliedMs;
  }
}

/** One record a selector: fields are numbers, times in milliseconds, and `-Infinity` and 0 mean "none". */
type RecordTable = ReturnType<typeof newTable>;

function newTable() {
  return new SelectorTable(
    [
      // The greatest `issued_before` of a REVOKE (`Infinity`: whenever issued); its revision, when it was learned and is forgotten.
      'issuedBeforeMs',
      'revokeRevision',
      'revokeLearnedAtMs',
      'revokeForgetAtMs',
      // The newest REVOKE, whatever its `issued_before`, and when this sidecar applied it.
      'newestRevokeRevision',
      'newestRevokeAppliedMs',
      // The newest REFRESH that is not spread, and when this sidecar applied it.
      'refreshRevision',
      'refreshAppliedMs',
    ],
    { issuedBeforeMs: -Infinity, newestRevokeAppliedMs: -Infinity, refreshAppliedMs: -Infinity },
  );
}

function isIndexed(form: readonly Dimension[]): boolean {
  return form.length === 1 || (form.length === 2 && pairForms.some((pair) => pair.every((dimension) => form.includes(dimension))));
}

/**
 * Whether a token with these attributes may fit one of the sets whose first tags (low and high half in turn) are given. False is
 * certain: it lacks the first tag of each. Cost: attributes × sets, in two typed arrays.
 */
export function mayFit(firstTags: Uint32Array, { tags }: TaggedAttributes): boolean {
  for (let at = 0; at < firstTags.length; at += 2) {
    const low = firstTags[at];
    for (let own = 0; own < tags.length; own += 2) {
      if (tags[own] === low && tags[own + 1] === firstTags[at + 1]) return true;
    }
  }
  return false;
}

/** The first tag of each set. */
export function firstTagsOf(sets: readonly TagSet[]): Uint32Array {
  return Uint32Array.from(sets.flatMap(({ tags: [first] }) => (first ? [first.low, first.high] : [])));
}

function fitsAll(set: TagSet, { tags, dimensions: numbers }: TaggedAttributes): boolean {
  return set.tags.every((wanted) => {
    for (let at = 0; at < numbers.length; at += 1) {
      if (tags[2 * at] === wanted.low && tags[2 * at + 1] === wanted.high) return true;
    }
    return false;
  });
}

/** The same in whichever order its conditions were said. */
function residualKey({ tags }: TagSet): Tag {
  const [first = { low: 0, high: 0 }, ...others] = tags.toSorted((one, other) => one.high - other.high || one.low - other.low);
  return others.reduce((key, { low, high }) => pairKey(key.low, key.high, low, high), first);
}

function textOf({ low, high }: Tag): string {
  return `${low} ${high}`;
}

/** Both tags are keyed, so this need not resist attackers; it must only tell (a, b) from (b, a) and from a and b alone. */
function pairKey(aLow: number, aHigh: number, bLow: number, bHigh: number): Tag {
  const low = Math.imul(aLow ^ (bHigh >>> 7), 0x9e3779b1) + Math.imul(bLow, 0x85ebca6b);
  const high = Math.imul(aHigh, 0xc2b2ae35) + Math.imul(bHigh ^ (aLow >>> 11), 0x27d4eb2f);
  return { low: low >>> 0, high: (high ^ (low >>> 15)) >>> 0 };
}
