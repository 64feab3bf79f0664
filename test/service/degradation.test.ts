// Which issuers are degraded, since when and why.

import { describe, expect, it } from 'vitest';
import { Degradations } from '../../src/service/degradation.ts';

describe('Degradations', () => {
  it('nobody is degraded at first', () => {
    const degradations = new Degradations();

    expect(degradations.by('central')).toEqual([]);
    expect(degradations.all()).toEqual([]);
  });

  it('an issuer is degraded since the first time that it was said, and others are not', () => {
    const degradations = new Degradations();

    expect(degradations.set('central', 'CLOCK', true, 1000)).toBe(true);
    expect(degradations.set('central', 'CLOCK', true, 2000)).toBe(false);

    expect(degradations.by('central')).toEqual(['CLOCK']);
    expect(degradations.by('corp')).toEqual([]);
    expect(degradations.all()).toEqual([{ issuer: 'central', reasons: ['CLOCK'], sinceMs: 1000 }]);
  });

  it('it ends when the last reason does, and saying so twice changes nothing', () => {
    const degradations = new Degradations();
    degradations.set('central', 'CLOCK', true, 1000);

    expect(degradations.set('central', 'CLOCK', false, 2000)).toBe(true);
    expect(degradations.set('central', 'CLOCK', false, 3000)).toBe(false);
    expect(degradations.all()).toEqual([]);

    degradations.set('central', 'CLOCK', true, 4000);
    expect(degradations.all()).toEqual([{ issuer: 'central', reasons: ['CLOCK'], sinceMs: 4000 }]);
  });
});
