// Whom the announcing sources have spoken of lately.

import { expect, test } from 'vitest';
import { Heard } from '../../../src/service/news/heard.ts';
import { newsOf } from '../../fakes/news-source.ts';

const atMs = Date.UTC(2026, 10, 21, 10, 0, 0);

test('one who was named is known within 10 s either way of that, by the source’s time', () => {
  const heard = new Heard();
  heard.add(newsOf({ about: ['u', 'p'], atMs }), 0);
  expect([-10_001, -10_000, 0, 10_000, 10_001].map((ms) => heard.hasNamed('u', atMs + ms))).toEqual([false, true, true, true, false]);
  expect([heard.hasNamed('p', atMs), heard.hasNamed('x', atMs)]).toEqual([true, false]);
});

test.each([
  ['identity.group.updated', true],
  ['identity.group.deleted', true],
  ['identity.domain.updated', true],
  ['identity.user.updated', false],
  ['identity.project.updated', false],
  ['identity.role_assignment.deleted', false],
])('%s touches users that it does not name: %s', (event, touches) => {
  const heard = new Heard();
  heard.add(newsOf({ event, about: ['g'], atMs }), 0);
  expect(heard.hasTouchedUsers(atMs + 10_000)).toBe(touches);
  expect(heard.hasTouchedUsers(atMs + 10_001)).toBe(false);
});

test('a mention is forgotten after two minutes, together with many others, and what is told of then cannot be held against it any more', () => {
  const heard = new Heard();
  for (let n = 0; n < 2_000; n += 1) heard.add(newsOf({ about: [`u${n}`], atMs }), 0);
  heard.add(newsOf({ about: ['last'], atMs }), 120_001);
  expect([heard.hasNamed('u0', atMs), heard.hasNamed('u1999', atMs), heard.hasNamed('last', atMs)]).toEqual([false, false, true]);
  expect([heard.isComplete(atMs), heard.isComplete(atMs + 1)]).toEqual([false, true]);
});

test('at 10,000 mentions the oldest make room, and from then on it is said from when on all is remembered', () => {
  const heard = new Heard();
  for (let n = 0; n < 10_000; n += 1) heard.add(newsOf({ about: [`u${n}`], atMs: atMs + n }), n);
  expect([heard.hasNamed('u0', atMs), heard.isComplete(atMs)]).toEqual([true, true]);
  heard.add(newsOf({ about: ['one more'], atMs: atMs + 10_000 }), 10_000);
  expect([heard.hasNamed('u999', atMs), heard.hasNamed('u1000', atMs)]).toEqual([false, true]);
  expect([heard.isComplete(atMs + 999), heard.isComplete(atMs + 1_000)]).toEqual([false, true]);
});

test('one who is named again and again takes one place a second: a robot pushes out nobody', () => {
  const heard = new Heard();
  heard.add(newsOf({ about: ['other'], atMs }), 0);
  for (let n = 0; n < 20_000; n += 1) heard.add(newsOf({ about: ['robot'], atMs: atMs + n * 5 }), n * 5);
  expect([heard.hasNamed('other', atMs), heard.isComplete(atMs - 1)]).toEqual([true, true]);
  expect(heard.hasNamed('robot', atMs + 99_995)).toBe(true);
});
