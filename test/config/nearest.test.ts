// The name that somebody probably meant.

import { describe, expect, it } from 'vitest';
import { nearest } from '../../src/config/nearest.ts';

describe('the nearest name', () => {
  it.each([
    ['ulr', 'url'],
    ['accept', 'accepts'],
    ['max_token_live', 'max_token_life'],
    ['max-token-life', 'max_token_life'],
    ['nmae', 'name'],
  ])('to %s is %s', (written, meant) => {
    expect(nearest(written, ['url', 'name', 'accepts', 'max_token_life', 'calls'])).toBe(meant);
  });

  it('is found without effort for a name of a megabyte', () => {
    expect(nearest('x'.repeat(1_000_000), ['url'])).toBe('url');
  });

  it('is none where nothing is known', () => expect(nearest('url', [])).toBeUndefined());
});
