// What comes through the log is bounded here, whatever others have let in.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { residualLimit } from '../../../src/core/invalidation-index.ts';
import { createStage, type Sidecar, type Stage } from './stage.ts';

let stage: Stage;
beforeEach(() => {
  stage = createStage();
});
afterEach(() => stage.close());

const sound = (...sidecars: readonly Sidecar[]) => stage.until(() => sidecars.every((sidecar) => sidecar.reasons().length === 0));

it('S3 selectors of unusual forms beyond the limit are taken, by one condition alone, and counted', async () => {
  const [one, two] = [await stage.start('one'), await stage.start('two')];
  await sound(one, two);
  const odd = (trust: string) => ({
    selector: {
      kind: 'fit' as const,
      issuer: 'central',
      conditions: [
        { dimension: 'role' as const, value: 'r' },
        { dimension: 'trust' as const, value: trust },
      ],
    },
  });
  // While they do not hear of each other each lets in as many as it may.
  stage.log.stop();
  for (const name of ['one', 'two']) {
    const sidecar = name === 'one' ? one : two;
    await Promise.all(Array.from({ length: residualLimit }, (_, n) => sidecar.revoke('', odd(`${name} ${n}`))));
  }
  stage.log.start();
  await stage.until(() => one.invalidations.applied >= 2 * residualLimit && two.invalidations.applied >= 2 * residualLimit);
  for (const { telemetry } of [one, two]) expect(telemetry.count('sidegate_invalidations_widened_total')).toBe(residualLimit);
  const [, last] = await one.journal.read((2 * residualLimit - 2) as never, 2);
  expect(last?.entry.selector).toMatchObject({ conditions: [{ dimension: 'role' }, { dimension: 'trust' }] });
});
