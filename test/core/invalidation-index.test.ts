// The index against the one-line model, for random tokens and invalidations (S2 to S4).

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Attribute, attributesOf, type Dimension, dimensions } from '../../src/core/attributes.ts';
import { currentnessOf } from '../../src/core/currentness.ts';
import { type Entry, type PlacedEntry, revision } from '../../src/core/invalidation.ts';
import { type Coverable, InvalidationIndex, residualLimit, uncovered } from '../../src/core/invalidation-index.ts';
import type { Condition, Selector } from '../../src/core/selector.ts';
import { createTagger } from '../../src/core/tag.ts';
import type { Facts } from '../../src/core/token.ts';

const times = { settleMs: 2000, wideWindowMs: 30_000 };
const tagger = createTagger([{ id: 'k1', secret: Buffer.alloc(32, 1) }]);

const entryOf = (part: Partial<Entry> & Pick<Entry, 'effect' | 'selector'>): Entry => ({
  id: 'e',
  alsoRefreshes: false,
  learnedAtMs: 0,
  forgetAtMs: Infinity,
  keyId: 'k1',
  origin: { source: 'rpc' },
  ...part,
});
const those = (...conditions: Condition[]): Selector => ({ kind: 'fit', issuer: 'i', conditions });
const revoke = (selector: Selector, issuedBeforeMs?: number): Entry =>
  entryOf({ effect: 'REVOKE', selector, ...(issuedBeforeMs === undefined ? {} : { issuedBeforeMs }) });
const refresh = (selector: Selector): Entry => entryOf({ effect: 'REFRESH', selector });
const indexOf = (...entries: Entry[]): InvalidationIndex => {
  const index = new InvalidationIndex(tagger, times);
  entries.forEach((entry, at) => {
    index.add({ revision: revision(at + 1), entry }, at * 10);
  });
  return index;
};
const tokenOf = (attributes: Attribute[], rest: Partial<Coverable> = {}, issuer = 'i'): Coverable => ({
  attributes: tagger.attributes(
    issuer,
    [{ dimension: 'everything', value: 'everything' }, { dimension: 'issuer', value: issuer }, ...attributes],
    [],
  ),
  issuedAtMs: 5000,
  canAsk: true,
  ...rest,
});

describe('S4 REVOKE', () => {
  const user = those({ dimension: 'user', value: 'u1' });
  const alice = tokenOf([{ dimension: 'user', value: 'u1' }]);

  it('covers a token issued in the second of the cut-off', () => {
    expect(indexOf(revoke(user, 5000)).covering(alice).revoked?.revision).toBe(1);
  });

  it('spares a token issued one second after the cut-off', () => {
    expect(indexOf(revoke(user, 4000)).covering(alice).revoked).toBeUndefined();
  });

  it('spares the same user id of another issuer', () => {
    expect(indexOf(revoke(user, 9000)).covering(tokenOf([{ dimension: 'user', value: 'u1' }], {}, 'other')).revoked).toBeUndefined();
  });

  it('that names one token kills it whenever it was issued', () => {
    const one = those({ dimension: 'identity', value: 'a1' });
    expect(indexOf(revoke(one, 1000)).covering(tokenOf([{ dimension: 'identity', value: 'a1' }])).revoked?.revision).toBe(1);
  });

  it('over a dimension that the facts do not tell is a REFRESH where an authority can be asked, and kills where none can', () => {
    const group = revoke(those({ dimension: 'group', value: 'g' }), 9000);
    const vague: Attribute[] = [{ dimension: 'group', value: undefined }];
    expect(indexOf(group).covering(tokenOf(vague))).toMatchObject({ revoked: undefined, refreshRevision: 1 });
    expect(indexOf(group).covering(tokenOf(vague, { canAsk: false })).revoked?.revision).toBe(1);
  });

  it('about a token without an issue time is a REFRESH where an authority can be asked, and kills where none can', () => {
    const timeless = tokenOf([{ dimension: 'user', value: 'u1' }], { issuedAtMs: undefined });
    expect(indexOf(revoke(user, 9000)).covering(timeless)).toMatchObject({ revoked: undefined, refreshRevision: 1 });
    expect(indexOf(revoke(user, 9000)).covering({ ...timeless, canAsk: false }).revoked?.revision).toBe(1);
  });

  it('keeps the greatest cut-off of a selector, whichever came last', () => {
    expect(indexOf(revoke(user, 9000), revoke(user, 1000)).covering(alice).revoked).toMatchObject({ revision: 1, issuedBeforeMs: 9000 });
  });
});

describe('S3 selectors', () => {
  it('of two conditions fit only a token that has both', () => {
    const both = refresh(those({ dimension: 'project', value: 'p' }, { dimension: 'user', value: 'u' }));
    const has = (...attributes: Attribute[]): number => indexOf(both).covering(tokenOf(attributes)).refreshRevision;
    expect(has({ dimension: 'user', value: 'u' }, { dimension: 'project', value: 'p' })).toBe(1);
    expect(has({ dimension: 'user', value: 'u' })).toBe(0);
    expect(has({ dimension: 'user', value: 'p' }, { dimension: 'project', value: 'u' })).toBe(0);
  });

  it('of unusual forms are one each, however often they are said, and in whichever order', () => {
    const index = new InvalidationIndex(tagger, times);
    const conditions = [
      { dimension: 'trust' as const, value: 't' },
      { dimension: 'scope_kind' as const, value: 'project' },
    ];
    for (let n = 1; n <= residualLimit; n += 1) {
      const said = n % 2 ? conditions : conditions.toReversed();
      index.add({ revision: revision(n), entry: refresh(those(...said)) }, n);
    }
    expect(index.hasRoomFor(those({ dimension: 'trust', value: 'u' }, { dimension: 'scope_kind', value: 'project' }))).toBe(true);
    expect(index.covering(tokenOf(conditions))).toMatchObject({ refreshRevision: residualLimit, refreshAppliedMs: residualLimit });
  });

  it('of unusual forms are scanned, as many as the limit allows and not one more', () => {
    const index = new InvalidationIndex(tagger, times);
    const odd = (n: number): Selector => those({ dimension: 'trust', value: `t${n}` }, { dimension: 'scope_kind', value: 'project' });
    for (let n = 0; n < residualLimit; n += 1) {
      expect(index.hasRoomFor(odd(n))).toBe(true);
      index.add({ revision: revision(n + 1), entry: refresh(odd(n)) }, 0);
    }
    expect(index.hasRoomFor(odd(residualLimit))).toBe(false);
    expect(index.hasRoomFor(odd(7))).toBe(true);
    expect(index.hasRoomFor(those({ dimension: 'user', value: 'u' }))).toBe(true);
    const token = tokenOf([
      { dimension: 'trust', value: 't7' },
      { dimension: 'scope_kind', value: 'project' },
    ]);
    expect(index.covering(token).refreshRevision).toBe(8);
  });

  it('of unusual forms that are there already when there is no room for them concern too many, never too few', () => {
    const index = new InvalidationIndex(tagger, times);
    const odd = (n: number): Selector =>
      those({ dimension: 'scope_kind', value: 'project' }, { dimension: 'role', value: 'r' }, { dimension: 'trust', value: `t${n}` });
    for (let n = 0; n < residualLimit; n += 1) index.add({ revision: revision(n + 1), entry: refresh(odd(n)) }, 0);
    const kills = entryOf({ effect: 'REVOKE', selector: odd(residualLimit), issuedBeforeMs: 5_000 });
    const news = { ...kills, selector: odd(residualLimit + 1), alsoRefreshes: true };
    const added = [kills, news].map((entry, n) => index.add({ revision: revision(residualLimit + 1 + n), entry }, 0));
    expect(added).toEqual([false, false]);
    const of = (n: number, role: string) =>
      index.covering(
        tokenOf([
          { dimension: 'trust', value: `t${n}` },
          { dimension: 'role', value: role },
          { dimension: 'scope_kind', value: 'project' },
        ]),
      );
    // Whom it says, and one whom it does not; by news it is asked about.
    expect([of(residualLimit, 'r'), of(residualLimit, 'other')]).toMatchObject([
      { revoked: { issuedBeforeMs: 5_000 } },
      { revoked: { issuedBeforeMs: 5_000 } },
    ]);
    expect(of(residualLimit + 1, 'r')).toMatchObject({ revoked: undefined, refreshRevision: residualLimit + 2 });
    expect(of(residualLimit + 2, 'r')).toMatchObject({ revoked: undefined, refreshRevision: 0 });
    // What is there already has its room.
    expect(index.add({ revision: revision(residualLimit + 3), entry: refresh(odd(7)) }, 0)).toBe(true);
  });

  it('are forgotten when their time is over, and only those', () => {
    const index = indexOf(
      entryOf({ effect: 'REVOKE', selector: those({ dimension: 'user', value: 'old' }), forgetAtMs: 100 }),
      entryOf({ effect: 'REVOKE', selector: those({ dimension: 'user', value: 'new' }), forgetAtMs: 1000 }),
    );
    for (let pass = 0; pass < 20; pass += 1) index.sweep(500);
    expect(index.covering(tokenOf([{ dimension: 'user', value: 'old' }])).revoked).toBeUndefined();
    expect(index.covering(tokenOf([{ dimension: 'user', value: 'new' }])).revoked?.revision).toBe(2);
  });

  it('stay found while a hundred thousand are added and half of them swept', () => {
    const index = new InvalidationIndex(tagger, times);
    for (let n = 0; n < 20_000; n += 1) {
      const selector = those({ dimension: 'session', value: `s${n}` });
      index.add({ revision: revision(n + 1), entry: entryOf({ effect: 'REVOKE', selector, forgetAtMs: n % 2 === 0 ? 10 : 1000 }) }, 0);
    }
    for (let pass = 0; pass < 20; pass += 1) index.sweep(500);
    const found = (n: number): number | undefined => index.covering(tokenOf([{ dimension: 'session', value: `s${n}` }])).revoked?.revision;
    expect([1, 777, 19_999].map(found)).toEqual([2, 778, 20_000]);
    expect([0, 776, 19_998].map(found)).toEqual([undefined, undefined, undefined]);
    expect(index.size).toBeGreaterThanOrEqual(10_000);
    expect(index.size).toBeLessThanOrEqual(10_001);
  });
});

describe('the index agrees with the model', () => {
  const tested: Dimension[] = ['identity', 'user', 'project', 'role', 'domain', 'chain', 'group', 'trust'];
  const value = fc.constantFrom('a', 'b', 'c');
  const attribute = fc.record({ dimension: fc.constantFrom(...tested), value: fc.option(value, { nil: undefined, freq: 5 }) });
  const issuer = fc.constantFrom('i', 'j');
  const condition = fc.record({ dimension: fc.constantFrom(...tested), value });
  const selector: fc.Arbitrary<Selector> = fc.oneof(
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('everything' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('everything' as const), issuer }) },
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant('fit' as const),
        issuer,
        conditions: fc.uniqueArray(condition, { minLength: 1, maxLength: 3, selector: (one) => one.dimension }),
      }),
    },
  );
  const entry = fc.record({
    effect: fc.constantFrom('REVOKE' as const, 'REFRESH' as const),
    selector,
    cutOff: fc.integer({ min: 0, max: 4 }),
    also: fc.boolean(),
    spread: fc.option(fc.constant(30_000), { nil: undefined }),
    gapMs: fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 70_000 })),
  });
  const token = fc.record({
    issuer,
    attributes: fc.uniqueArray(attribute, { maxLength: 8, selector: (one) => `${one.dimension}${one.value}` }),
    issuedAt: fc.option(fc.integer({ min: 0, max: 4 }), { nil: undefined }),
    canAsk: fc.boolean(),
  });

  type RandomToken = typeof token extends fc.Arbitrary<infer T> ? T : never;

  /** Surely, and maybe: a dimension that is told in part may count as either. */
  const fits = (chosen: Selector, { issuer: of, attributes }: RandomToken): { surely: boolean; maybe: boolean } => {
    if (chosen.issuer !== undefined && chosen.issuer !== of) return { surely: false, maybe: false };
    if (chosen.kind === 'everything') return { surely: true, maybe: false };
    const told = chosen.conditions.map((one): (string | undefined)[] =>
      attributes.filter((attribute) => attribute.dimension === one.dimension).map((attribute) => attribute.value),
    );
    const has = chosen.conditions.map((one, at) => told[at]?.includes(one.value) ?? false);
    const untold = told.map((values) => values.includes(undefined));
    return { surely: has.every(Boolean), maybe: has.every((one, at) => one || untold[at]) && untold.some(Boolean) };
  };

  const broad: ReadonlySet<Dimension> = new Set(['project', 'role', 'domain', 'group']);
  const isBroad = (chosen: Selector): boolean => chosen.kind === 'fit' && chosen.conditions.every(({ dimension }) => broad.has(dimension));

  /** Each window that there is of one selector; what comes while one runs belongs to the next. */
  interface Windows {
    readonly merges: boolean;
    readonly all: { startMs: number; newsMs: number }[];
  }
  const arrive = ({ merges, all }: Windows, atMs: number): void => {
    const last = all.at(-1);
    if (!last || !merges || atMs >= last.startMs + 30_000) all.push({ startMs: atMs, newsMs: atMs });
    else if (atMs < last.startMs) last.newsMs = atMs;
    else all.push({ startMs: last.startMs + 30_000, newsMs: atMs });
  };
  /** Of forms that are looked up; of the others each entry stands for itself. */
  const isIndexed = (chosen: Selector): boolean =>
    chosen.kind === 'everything' ||
    chosen.conditions.length === 1 ||
    (chosen.conditions.length === 2 &&
      ['project user', 'domain user', 'role user', 'project role', 'chain project'].includes(
        chosen.conditions
          .map(({ dimension }) => dimension)
          .sort()
          .join(' '),
      ));
  const keyOf = (chosen: Selector): string =>
    JSON.stringify(
      chosen.kind === 'everything'
        ? chosen
        : { ...chosen, conditions: chosen.conditions.toSorted((a, b) => (a.dimension < b.dimension ? -1 : 1)) },
    );

  it('for random inputs', () => {
    fc.assert(
      fc.property(
        fc.array(entry, { maxLength: 12 }),
        token,
        fc.array(fc.record({ beganMs: fc.integer({ min: 0, max: 300_000 }), afterMs: fc.integer({ min: 0, max: 100_000 }) }), {
          maxLength: 4,
        }),
        fc.constantFrom('00000000', '40000000', 'ffffffff'),
        (entries, random, looks, fingerprint) => {
          const index = new InvalidationIndex(tagger, times);
          const place = Number.parseInt(fingerprint, 16) / 2 ** 32;
          let killed = false;
          let refreshed = 0;
          let broadly = 0;
          let nowMs = 0;
          const windows = new Map<string, Windows & { readonly blocks: boolean }>();
          entries.forEach(({ effect, selector: chosen, cutOff, also, spread, gapMs }, at) => {
            nowMs += gapMs;
            const namesOne = chosen.kind === 'fit' && chosen.conditions.some((one) => one.dimension === 'identity');
            const times = { ...(namesOne ? {} : { issuedBeforeMs: cutOff }), ...(spread === undefined ? {} : { spreadMs: spread }) };
            const placed: PlacedEntry = {
              revision: revision(at + 1),
              entry: entryOf({ effect, selector: chosen, alsoRefreshes: also, ...times }),
            };
            index.add(placed, nowMs);
            const match = fits(chosen, random);
            if (!match.surely && !match.maybe) return;
            if (effect === 'REFRESH' || also) {
              if (spread === undefined && isBroad(chosen)) broadly = at + 1;
              if (spread === undefined && !isBroad(chosen)) refreshed = at + 1;
              if (spread !== undefined || isBroad(chosen)) {
                const key = `${spread === undefined} ${keyOf(chosen)}`;
                const own = windows.get(key) ?? { merges: isIndexed(chosen), all: [], blocks: spread === undefined };
                windows.set(key, own);
                arrive(own, nowMs);
              }
            }
            if (effect === 'REFRESH') return;
            const timed = namesOne || random.issuedAt !== undefined;
            const inTime = namesOne || random.issuedAt === undefined || random.issuedAt <= cutOff;
            if (random.canAsk && (match.maybe || !timed)) refreshed = at + 1;
            if (inTime && (random.canAsk ? match.surely && timed : true)) killed = true;
          });
          const told = {
            ...tokenOf(random.attributes, { issuedAtMs: random.issuedAt, canAsk: random.canAsk }, random.issuer),
            fingerprint,
          };
          const covering = index.covering(told);
          expect(covering.revoked !== undefined).toBe(killed);
          expect([covering.refreshRevision, covering.broadRevision]).toEqual([refreshed, broadly]);
          for (const { beganMs, afterMs } of looks) {
            const lookMs = nowMs + afterMs;
            const due = [...windows.values()].flatMap(({ all, blocks }) =>
              all.some(({ startMs, newsMs }) => beganMs < newsMs + 2000 && lookMs >= startMs + 2000 + place * 28_000) ? [blocks] : [],
            );
            const wanted = due.length === 0 ? 'current' : due.includes(true) ? 'overdue' : 'due';
            const slotsAlone = { ...uncovered, slots: covering.slots };
            expect(currentnessOf({ revision: 0, monotonicMs: beganMs }, slotsAlone, { nowMs: lookMs, settleMs: 2000 })).toBe(wanted);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe('S2 attributes', () => {
  const facts: Facts = {
    token: {
      issuer: 'i',
      format: 'opaque',
      user: { id: 'trustor', domain: { id: 'd1' }, federation: { identityProviderId: 'idp', groupIds: ['g1'] } },
      scope: { kind: 'project', project: { id: 'p', domain: { id: 'd2' }, isDomain: false } },
      roles: [
        { id: 'r1', name: 'member' },
        { id: '', name: 'named' },
      ],
      methods: [],
      auditIds: ['own', 'root'],
      clientId: 'c',
      audiences: [],
      scopes: [],
      trust: { id: 't', trustorUserId: 'trustor', trusteeUserId: 'trustee', impersonation: true },
      isAdminProject: true,
    },
    hasAccessRules: false,
    unknown: ['user_domain'],
  };
  const values = (dimension: Dimension): (string | undefined)[] =>
    attributesOf(facts, 'own')
      .filter((one) => one.dimension === dimension)
      .map((one) => one.value);

  it('name user, trustor and trustee alike, each once', () => expect(values('user')).toEqual(['trustor', 'trustee']));
  it('name the root of the chain, not the token', () => expect(values('chain')).toEqual(['root']));
  it('leave unknown what the facts do not tell, and with the user’s domain also "domain"', () => {
    expect(values('user_domain')).toEqual([undefined]);
    expect(values('domain')).toEqual([undefined]);
  });
  it('name a role by its id, or by its name where the issuer has only names', () => expect(values('role')).toEqual(['r1', 'named']));
  it('say nothing of what a token does not have', () => expect(values('session')).toEqual([]));
  it('come from the closed list only', () => {
    for (const one of attributesOf(facts, 'own')) expect(dimensions).toContain(one.dimension);
  });
});
