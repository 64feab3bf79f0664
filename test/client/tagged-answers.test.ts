// Answers by tag: the index drops exactly what the one-line rule drops, and never grows beyond its bound.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fits, type KeptAnswer, TaggedAnswers } from '../../src/client/tagged-answers.ts';
import { revision } from '../../src/core/invalidation.ts';

const kept = (tags: readonly bigint[], asOf: number): KeptAnswer => ({
  tags,
  untilMs: 0,
  answer: {
    active: true,
    token: {
      issuer: 'i',
      format: 'opaque',
      scope: { kind: 'unscoped' },
      roles: [],
      methods: [],
      auditIds: [],
      audiences: [],
      scopes: [],
      isAdminProject: false,
    },
    asOf: { journal: 'J', revision: revision(asOf) },
    maxAgeMs: 1,
    fingerprint: 'f',
    provenance: 'memory',
    degraded: false,
    degradedBy: [],
  },
});
const tagSets = fc.uniqueArray(
  fc.nat(5).map((n) => BigInt(n)),
  { maxLength: 4 },
);
const deeds = fc.array(
  fc.oneof(
    fc.record({ set: fc.nat(9), tags: tagSets, asOf: fc.nat(9) }),
    fc.record({ drop: tagSets, at: fc.nat(9) }),
    fc.record({ remove: fc.nat(9) }),
  ),
  { maxLength: 60 },
);

describe('answers by their tags', () => {
  it('drop what the model drops', () => {
    fc.assert(
      fc.property(deeds, (script) => {
        const answers = new TaggedAnswers(100);
        const model = new Map<string, KeptAnswer>();
        for (const deed of script) {
          if ('set' in deed) {
            const one = kept(deed.tags, deed.asOf);
            answers.set(String(deed.set), one);
            model.set(String(deed.set), one);
          } else if ('remove' in deed) {
            answers.delete(String(deed.remove));
            model.delete(String(deed.remove));
          } else {
            const concerned = [...model].filter(([, one]) => fits(deed.drop, one.tags) && one.answer.asOf.revision < deed.at);
            for (const [key] of concerned) model.delete(key);
            expect(answers.dropConcerned(deed.drop, deed.at)).toBe(concerned.length);
          }
          for (let key = 0; key < 10; key += 1) expect(answers.get(String(key))).toBe(model.get(String(key)));
          expect(answers.size).toBe(model.size);
        }
      }),
    );
  });

  it.each([
    [9, 9],
    [10, 10],
    [11, 10],
  ])('of %i answers %i stay where ten may', (given, stay) => {
    const answers = new TaggedAnswers(10);
    for (let n = 0; n < given; n += 1) answers.set(String(n), kept([1n], 1));
    expect(answers.size).toBe(stay);
    expect(answers.dropConcerned([1n], 2)).toBe(stay);
  });
});
