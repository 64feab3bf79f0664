// The proof of what lives, and the audit that compares.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { audit, decodeProof, emptyProof, encodeProof, type Proof, withEntry, withoutEntry } from '../../src/journal/proof.ts';

const proofOf = (revisions: readonly number[]): Proof => revisions.reduce(withEntry, emptyProof);

async function* inBatches(revisions: readonly number[]): AsyncGenerator<readonly number[]> {
  for (let at = 0; at < revisions.length; at += 3) yield revisions.slice(at, at + 3);
}

const live = fc.uniqueArray(fc.integer({ min: 1, max: 2 ** 40 }), { minLength: 1, maxLength: 30 }).map((all) => all.sort((a, b) => a - b));

describe('the proof', () => {
  it('is the same whatever order entries came and went in', () => {
    fc.assert(
      fc.property(live, fc.integer({ min: 1, max: 2 ** 40 }), (revisions, other) => {
        const there = proofOf(revisions);
        const back = [...revisions].reverse().reduce(withEntry, withEntry(emptyProof, other));
        expect({ ...withoutEntry(back, other), head: 0 }).toEqual({ ...there, head: 0 });
      }),
    );
  });

  it('comes back as it was, and as nothing where it is damaged', () => {
    const proof = proofOf([1, 2, 2 ** 40]);
    expect(decodeProof(encodeProof(proof))).toEqual(proof);
    expect(['', '[]', 'null', '{"head":1}', encodeProof(proof).replace('"count":3', '"count":-3')].map(decodeProof)).toEqual(
      Array(5).fill(undefined),
    );
  });
});

describe('the audit', () => {
  it('finds nothing where all live entries are there, holes of compaction or not', async () => {
    const proof = withoutEntry(withoutEntry(proofOf([1, 2, 3, 4, 5]), 2), 5);
    expect(await audit(proof, inBatches([1, 3, 4]))).toEqual({ proof, corruption: undefined });
    expect(await audit(emptyProof, inBatches([]))).toEqual({ proof: emptyProof, corruption: undefined });
  });

  it('finds any entry that is missing', async () => {
    await fc.assert(
      fc.asyncProperty(live, fc.nat(), async (revisions, pick) => {
        const left = revisions.toSpliced(pick % revisions.length, 1);
        const { corruption, proof } = await audit(proofOf(revisions), inBatches(left));
        expect(corruption).toMatch(new RegExp(`^1 of ${revisions.length} entries are missing between revisions \\d+ and \\d+$`));
        expect([proof.count, proof.head]).toEqual([left.length, revisions.at(-1)]);
      }),
    );
  });

  it('says between which revisions', async () => {
    const proof = withoutEntry(proofOf([1, 2, 3, 4, 5, 6]), 2);
    expect((await audit(proof, inBatches([1, 3, 6]))).corruption).toBe('2 of 5 entries are missing between revisions 2 and 5');
    expect((await audit(proof, inBatches([]))).corruption).toBe('5 of 5 entries are missing between revisions 1 and 6');
  });

  it('finds an entry in the place of another, and one beyond the head, whose revision is not given again', async () => {
    expect((await audit(proofOf([1, 3]), inBatches([1, 2]))).corruption).toBe(
      'the 2 entries are not the 2 that were written, between revisions 3 and 3',
    );
    const beyond = await audit(proofOf([1]), inBatches([1, 2]));
    expect([beyond.corruption, beyond.proof.head]).toEqual(['the 2 entries are not the 1 that were written, between revisions 1 and 2', 2]);
  });
});
