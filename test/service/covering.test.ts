// A hit that looks only at what is new finds what a lookup in the whole index finds.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Attribute } from '../../src/core/attributes.ts';
import { type Covering, uncovered } from '../../src/core/invalidation-index.ts';
import type { Selector } from '../../src/core/selector.ts';
import { createTagger } from '../../src/core/tag.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import { Invalidations } from '../../src/service/invalidations.ts';
import type { Known } from '../../src/service/known.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

const tagger = createTagger([{ id: 'k', secret: Buffer.alloc(32, 3) }]);
const value = fc.constantFrom('a', 'b');
const dimension = fc.constantFrom('user' as const, 'project' as const, 'group' as const, 'trust' as const);
const selector: fc.Arbitrary<Selector> = fc.oneof(
  { weight: 1, arbitrary: fc.constant<Selector>({ kind: 'everything', issuer: 'i' }) },
  {
    weight: 9,
    arbitrary: fc.record({
      kind: fc.constant('fit' as const),
      issuer: fc.constant('i'),
      conditions: fc.uniqueArray(fc.record({ dimension, value }), { minLength: 1, maxLength: 3, selector: (one) => one.dimension }),
    }),
  },
);
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('append' as const), effect: fc.constantFrom('REVOKE' as const, 'REFRESH' as const), selector }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('look' as const) }) },
);

describe('what covers a token', () => {
  it('is the same however often it was looked at before, for rings of any size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.uniqueArray(fc.record({ dimension, value: fc.option(value, { nil: undefined }) }), {
          maxLength: 5,
          selector: (one) => `${one.dimension}${one.value}`,
        }),
        fc.constantFrom(2, 5, 64),
        async (steps, attributes: Attribute[], ring) => {
          const clock = createFakeClock();
          const telemetry = createFakeTelemetry();
          const invalidations = new Invalidations({
            journal: createMemoryJournal({ clock }),
            tagger,
            clock,
            telemetry,
            settleMs: 0,
            wideWindowMs: 1000,
            factsLifeMs: 1e6,
            refreshLifeMs: 1e6,
            ring,
          });
          const stop = new AbortController();
          await invalidations.load();
          const running = invalidations.run(stop.signal);
          const token = { attributes: tagger.attributes('i', attributes, []), issuedAtMs: 0, canAsk: true };
          const known = { ...token, covering: uncovered, checkedRevision: -1 } as unknown as Known;
          const meaning = ({ revoked, refreshRevision }: Covering): unknown => ({ revoked, refreshRevision });
          for (const one of steps) {
            if (one.do === 'append') {
              await invalidations.append({
                effect: one.effect,
                selector: one.selector,
                issuedBeforeMs: 1000,
                lifeMs: 1e6,
                origin: { source: 'rpc' },
              });
            } else expect(meaning(invalidations.covering(known))).toEqual(meaning(invalidations.coveringOf(token)));
          }
          expect(meaning(invalidations.covering(known))).toEqual(meaning(invalidations.coveringOf(token)));
          stop.abort();
          await running;
        },
      ),
      { numRuns: 150 },
    );
  });
});
