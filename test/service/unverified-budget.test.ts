// What strangers may have revoked, and how many of them are told apart.

import { expect, it } from 'vitest';
import { UnverifiedBudget } from '../../src/service/unverified-budget.ts';
import { createFakeClock } from '../fakes/clock.ts';

const mostGivers = 10_000;

it('each giver spends its own', () => {
  const budget = new UnverifiedBudget({ perSecond: 2, alive: 100 }, createFakeClock());
  for (const giver of ['tcp', 'tcp', 'certificate a', 'certificate a']) budget.spend(giver, Infinity);
  expect(() => budget.spend('tcp', Infinity)).toThrow('too many');
  expect(() => budget.spend('certificate a', Infinity)).toThrow('too many');
  expect(() => budget.spend('certificate b', Infinity)).not.toThrow();
});

it('no more givers are told apart than there is room for: the next one waits until one has rested for a second', async () => {
  const clock = createFakeClock();
  const budget = new UnverifiedBudget({ perSecond: 2, alive: 1_000_000 }, clock);
  for (let index = 0; index < mostGivers; index += 1) budget.spend(`certificate ${index}`, Infinity);
  expect(() => budget.spend('certificate new', Infinity)).toThrow('too many');
  expect(() => budget.spend('certificate 7', Infinity)).not.toThrow();
  await clock.advance(999);
  expect(() => budget.spend('certificate new', Infinity)).toThrow('too many');
  await clock.advance(1);
  expect(() => budget.spend('certificate new', Infinity)).not.toThrow();
});
