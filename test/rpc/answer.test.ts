// Answers written by hand are the bytes that the generated code would read as the same message.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Revision, revision } from '../../src/core/invalidation.ts';
import { createTagger } from '../../src/core/tag.ts';
import { ValidateResponse } from '../../src/gen/sidegate/v1/token_service.ts';
import { AnswerWriter, messageOf } from '../../src/rpc/answer.ts';
import type { ReadQuestion } from '../../src/rpc/validate-request.ts';
import { type Known, knownOf, namesOf } from '../../src/service/known.ts';
import type { Answer } from '../../src/service/question.ts';
import { tokenCodec } from '../../src/wire/token-codec.ts';
import { createFakeIssuer, factsOf } from '../fakes/issuer.ts';

const tagger = createTagger([{ id: 'k', secret: Buffer.alloc(32, 3) }]);
const { issuer } = createFakeIssuer();

const id = fc.string({ minLength: 1, maxLength: 300, unit: 'grapheme' });
const known: fc.Arbitrary<Known> = fc
  .record({
    user: id,
    roles: fc.array(id, { maxLength: 5 }),
    scopes: fc.array(id, { maxLength: 5 }),
    claims: fc.option(fc.constant('{"sub":"x","n":1}'), { nil: undefined }),
    began: fc.integer({ min: 0, max: 253_402_300_799_999 }),
  })
  .map(({ user, roles, scopes, claims, began }) =>
    knownOf(
      {
        issuer,
        names: namesOf('d'.repeat(32), 'opaque', tagger),
        facts: factsOf('central', {
          token: {
            user: { id: user },
            roles: roles.map((name) => ({ id: name, name })),
            scopes,
            ...(claims === undefined ? {} : { claimsJson: claims }),
          },
        }),
        provenance: 'authority',
        began: { wallMs: began, monotonicMs: 0, revision: 0 },
        timeMs: 1000,
        refreshAhead: 1,
      },
      tagger,
      tokenCodec,
    ),
  );
const at: fc.Arbitrary<Revision> = fc.nat(Number.MAX_SAFE_INTEGER).map((n) => revision(n));
const active: fc.Arbitrary<Answer> = fc.record({
  decision: fc.constant({ active: true as const }),
  fingerprint: fc.constant('0123456789abcdef'.repeat(2)),
  known,
  provenance: fc.constantFrom('MEMORY' as const, 'AUTHORITY' as const, 'SIGNATURE' as const),
  revoked: fc.constant(undefined),
  asOf: at,
  maxAgeMs: fc.oneof(fc.constant(0), fc.constant(1000), fc.constant(999), fc.nat(86_400_000)),
  degradedBy: fc.oneof({ weight: 5, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.constant(['CLOCK' as const]) }),
});
const inactive: fc.Arbitrary<Answer> = fc.record({
  decision: fc
    .constantFrom('REVOKED' as const, 'EXPIRED' as const, 'MALFORMED' as const)
    .map((reason) => ({ active: false as const, reason })),
  fingerprint: fc.constantFrom('', 'f'.repeat(32)),
  known: fc.option(known, { nil: undefined }),
  provenance: fc.constantFrom(undefined, 'MEMORY' as const),
  revoked: fc.option(
    fc.record({
      revision: fc.nat(),
      issuedBeforeMs: fc.constantFrom(Infinity, 1_000_000),
      learnedAtMs: fc.nat(),
      forgetAtMs: fc.constantFrom(Infinity, 5_000_000),
    }),
    { nil: undefined },
  ),
  asOf: at,
  maxAgeMs: fc.constant(0),
  degradedBy: fc.constant([]),
});
const question: fc.Arbitrary<ReadQuestion> = fc.record({
  raw: fc.constant('t'),
  wantsClaims: fc.boolean(),
  wantsTags: fc.boolean(),
  wantsDetails: fc.boolean(),
  wantsHandle: fc.boolean(),
  catalogFilter: fc.constantFrom(undefined, { regions: [], services: [] }),
});
const journal = fc.constantFrom('J', 'a'.repeat(64), 'x1-_');

/** What the generated code reads from bytes of the generated code. */
const through = (message: ValidateResponse): ValidateResponse => ValidateResponse.decode(ValidateResponse.encode(message).finish());

const catalogTag = (): bigint => 77n;

describe('AnswerWriter', () => {
  it('what it writes reads as exactly what the message says, for random answers and one writer', () => {
    const writer = new AnswerWriter();
    fc.assert(
      fc.property(
        fc.oneof({ weight: 4, arbitrary: active }, { weight: 1, arbitrary: inactive }),
        question,
        journal,
        (answer, asked, name) => {
          const context = { asOf: { journal: name, revision: answer.asOf }, catalogTag };
          const read = ValidateResponse.decode(writer.write(answer, asked, context));
          expect(read).toEqual(through(messageOf(answer, asked, context)));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('no byte is too many: what it writes is as long as what the generated code writes', () => {
    const writer = new AnswerWriter();
    fc.assert(
      fc.property(active, question, (answer, asked) => {
        const context = { asOf: { journal: 'J', revision: answer.asOf }, catalogTag };
        expect(writer.write(answer, asked, context).length).toBe(
          ValidateResponse.encode(messageOf(answer, asked, context)).finish().length,
        );
      }),
      { numRuns: 200 },
    );
  });

  const sample = (seed: number): Answer => fc.sample(active, { numRuns: 1, seed })[0] as Answer;
  const nothing = { wantsClaims: false, wantsTags: false, wantsDetails: false, wantsHandle: false, catalogFilter: undefined };
  const plain: ReadQuestion = { raw: 't', ...nothing };
  const read = (answer: Answer, asked: Partial<ReadQuestion> = {}): ValidateResponse =>
    ValidateResponse.decode(
      new AnswerWriter().write(answer, { ...plain, ...asked }, { asOf: { journal: 'J', revision: answer.asOf }, catalogTag }),
    );

  it('max_age is absent where nothing may be kept', () => {
    expect(read({ ...sample(1), maxAgeMs: 0, degradedBy: [] }).maxAge).toBeUndefined();
    expect(read({ ...sample(1), maxAgeMs: 1500, degradedBy: [] }).maxAge).toMatchObject({ seconds: 1n, nanos: 500_000_000 });
  });

  it('tags and claims are sent only where they are wanted', () => {
    const answer = { ...sample(2), degradedBy: [] };

    expect(read(answer).tags).toEqual([]);
    expect(read(answer, { wantsTags: true }).tags.length).toBeGreaterThan(2);
    expect(read(answer).token?.claimsJson).toBe('');
  });

  it('facts of an inactive token are told only with details, and what killed it without them by place and times alone', () => {
    const revoked = { revision: 7, issuedBeforeMs: Infinity, learnedAtMs: 1000, forgetAtMs: 5000 };
    const answer: Answer = { ...sample(3), decision: { active: false, reason: 'REVOKED' }, revoked, maxAgeMs: 0 };

    expect(read(answer)).toMatchObject({
      active: false,
      token: undefined,
      revokedBy: { cursor: { revision: 7n }, selector: undefined, entryId: '' },
    });
    expect(read(answer, { wantsDetails: true }).token?.issuer).toBe('central');
  });

  it('a new cursor of the same revision in another journal is not answered from the last one’s bytes', () => {
    const writer = new AnswerWriter();
    const answer = { ...sample(4), degradedBy: [] };
    const cursors = ['A', 'B'].map(
      (name) =>
        ValidateResponse.decode(writer.write(answer, plain, { asOf: { journal: name, revision: revision(3) }, catalogTag })).asOf?.journal,
    );

    expect(cursors).toEqual(['A', 'B']);
  });
});
