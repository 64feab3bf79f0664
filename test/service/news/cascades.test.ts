// S8: a project that was changed may have been disabled together with what is below it, of which nobody tells.

import { afterEach, describe, expect, test } from 'vitest';
import type { ProjectStanding } from '../../../src/ports.ts';
import { newsOf, refreshing } from '../../fakes/news-source.ts';
import { createNewsStage, type NewsStage, type NewsStageOptions } from './news-stage.ts';

const stages: NewsStage[] = [];

afterEach(async () => {
  await Promise.all(stages.splice(0).map((stage) => stage.close()));
});

async function staged(options: NewsStageOptions = {}): Promise<NewsStage> {
  const stage = await createNewsStage(options);
  stages.push(stage);
  return stage;
}

const updated = (stage: NewsStage, id = 'p') =>
  ({
    event: 'identity.project.updated',
    atMs: stage.clock.nowMs(),
    about: [id],
    invalidations: [refreshing(['project', id])],
    mayCascadeFrom: id,
  }) as const;
const wides = async (stage: NewsStage) =>
  (await stage.entries())
    .filter(({ spreadMs }) => spreadMs !== undefined)
    .map(({ selector }) => selector.kind === 'fit' && selector.conditions);
const allProjects = [{ dimension: 'scope_kind', value: 'project' }];
const forbidden: ProjectStanding = { kind: 'unknown', problem: 'it may not be asked' };

/** A Keystone of which a test says how its projects stand. */
function keystone(standing: ProjectStanding | (() => Promise<ProjectStanding>)) {
  const asked: string[] = [];
  const project = async (id: string): Promise<ProjectStanding> => {
    asked.push(id);
    return typeof standing === 'function' ? await standing() : standing;
  };
  return { asked, project };
}

describe('S8 a project that was changed', () => {
  test('is asked about once it has settled; where it is enabled, nothing more follows', async () => {
    const { asked, project } = keystone({ kind: 'enabled', domainId: 'd' });
    const stage = await staged({ project });
    const told = stage.tell('bus', updated(stage));
    await stage.clock.advance(1_999);
    expect([asked, told.said]).toEqual([[], 'nothing']);
    await stage.clock.advance(1);
    expect([asked, told.said]).toEqual([['p'], 'done']);
    expect((await stage.entries()).map(({ effect, spreadMs }) => [effect, spreadMs])).toEqual([['REFRESH', undefined]]);
  });

  test.each([
    ['disabled', { kind: 'disabled', domainId: 'd' }, [{ dimension: 'project_domain', value: 'd' }]],
    ['disabled, in a domain that is not told', { kind: 'disabled' }, allProjects],
    ['gone', { kind: 'refused' }, allProjects],
  ] as const)('and is %s refreshes whatever may be below it, spread, before it counts as told', async (_what, standing, conditions) => {
    const stage = await staged(keystone(standing));
    const told = stage.tell('bus', updated(stage));
    await stage.clock.advance(2_000);
    expect([told.said, await wides(stage)]).toEqual(['done', [conditions]]);
    expect((await stage.entries()).at(-1)?.origin).toEqual({ source: 'central/bus', event: 'identity.project.updated' });
  });

  test.each([
    ['we may not ask', forbidden],
    ['the question fails', () => Promise.reject(new Error('no connection'))],
  ])('refreshes the tokens of all projects, spread, where %s, and why is said once', async (_what, standing) => {
    const stage = await staged(keystone(standing));
    stage.tell('bus', updated(stage));
    await stage.clock.advance(4_000);
    expect(await wides(stage)).toEqual([allProjects]);
    await stage.clock.advance(60_000);
    stage.tell('bus', updated(stage));
    await stage.clock.advance(4_000);
    expect(stage.telemetry.lines.filter(({ message }) => message.includes('cannot be asked'))).toHaveLength(1);
  });

  test('does the same where nobody can be asked about projects, and where the question hangs', async () => {
    const nobody = await staged();
    nobody.tell('bus', updated(nobody));
    await nobody.clock.advance(4_000);
    expect(await wides(nobody)).toEqual([allProjects]);
    const hanging = await staged({ project: () => new Promise(() => undefined) });
    const told = hanging.tell('bus', updated(hanging));
    await hanging.clock.advance(6_999);
    expect(told.said).toBe('nothing');
    await hanging.clock.advance(1);
    expect([told.said, await wides(hanging)]).toEqual(['done', [allProjects]]);
  });

  test('and changed again is asked about once more, when that has settled: the first answer may be from before', async () => {
    let standing: ProjectStanding = { kind: 'enabled' };
    const { asked, project } = keystone(async () => standing);
    const stage = await staged({ project });
    stage.tell('bus', updated(stage));
    await stage.clock.advance(1_500);
    stage.tell('bus', updated(stage));
    stage.tell('bus', updated(stage));
    await stage.clock.advance(1_000);
    standing = { kind: 'disabled', domainId: 'd' };
    await stage.clock.advance(1_500);
    expect(asked).toEqual(['p', 'p']);
    expect(await wides(stage)).toHaveLength(1);
  });
});

describe('S8 where the project cannot be asked about, a token of it answers', () => {
  const scoped = { token: { scope: { kind: 'project', project: { id: 'p', isDomain: false } } } } as const;

  test('that is accepted once the change has settled: nothing follows', async () => {
    const stage = await staged(keystone(forbidden));
    stage.central.knows('t', scoped);
    await stage.ask('t');
    const told = stage.tell('bus', updated(stage));
    await stage.clock.advance(2_100);
    await stage.ask('t');
    await stage.clock.advance(1_900);
    expect([told.said, await wides(stage)]).toEqual(['done', []]);
  });

  test.each([
    ['is accepted before that', 1_900, 't', true],
    ['is of another project', 2_100, 'other', true],
    ['is refused', 2_100, 't', false],
    ['is not asked about', 2_100, undefined, true],
  ])('not so one that %s', async (_what, afterMs, asked, isGood) => {
    const stage = await staged(keystone(forbidden));
    stage.central.knows('t', scoped);
    stage.central.knows('other', { token: { scope: { kind: 'project', project: { id: 'q', isDomain: false } } } });
    await stage.ask('t');
    stage.tell('bus', updated(stage));
    if (!isGood) stage.central.refuses('t');
    await stage.clock.advance(afterMs);
    if (asked !== undefined) await stage.ask(asked);
    await stage.clock.advance(4_000 - afterMs);
    expect(await wides(stage)).toEqual([allProjects]);
  });

  test('and where the project is known to be disabled, no token says otherwise', async () => {
    const stage = await staged(keystone({ kind: 'disabled', domainId: 'd' }));
    stage.central.knows('t', scoped);
    const told = stage.tell('bus', updated(stage));
    await stage.clock.advance(1_999);
    await stage.ask('t');
    await stage.clock.advance(1);
    await stage.ask('t');
    expect([told.said, await wides(stage)]).toEqual(['done', [[{ dimension: 'project_domain', value: 'd' }]]]);
  });

  test('of a project that was changed twice: for each change one that is accepted once that has settled', async () => {
    const stage = await staged(keystone(forbidden));
    stage.central.knows('t', scoped);
    const told = [stage.tell('bus', updated(stage))];
    await stage.clock.advance(1_000);
    told.push(stage.tell('bus', updated(stage)));
    // Settled by now of the first, not of the second.
    await stage.clock.advance(1_500);
    await stage.ask('t');
    await stage.clock.advance(1_500);
    expect(told.map(({ said }) => said)).toEqual(['done', 'nothing']);
    // What was fetched at 2.5 s is provisional until 4 s.
    await stage.clock.advance(100);
    await stage.ask('t');
    await stage.clock.advance(1_900);
    expect([told.map(({ said }) => said), await wides(stage)]).toEqual([['done', 'done'], []]);
  });
});

test('S8 a project that is changed again and again is told of all the same: nobody waits for the last change', async () => {
  const { asked, project } = keystone(forbidden);
  const stage = await staged({ project });
  const told = [];
  for (let at = 0; at < 60; at += 1) {
    told.push(stage.tell('bus', updated(stage)));
    await stage.clock.advance(500);
  }
  // Two settle windows until it is asked about, one for a token of it, and one that its REFRESHes merge in.
  const old = told.filter((_, at) => at * 500 <= 30_000 - 8_000);
  expect(old.map(({ said }) => said)).toEqual(old.map(() => 'done'));
  expect(asked.length).toBeLessThanOrEqual(16);
});

test('S8 more projects than 32 at once are all taken for disabled: one refresh, and the others are asked about', async () => {
  const { asked, project } = keystone({ kind: 'enabled' });
  const stage = await staged({ project });
  const told = Array.from({ length: 40 }, (_, n) => stage.tell('bus', updated(stage, `p${n}`)));
  await stage.clock.advance(2_000);
  expect(asked).toHaveLength(32);
  // The first of them at once, the others with the one that trails it.
  expect(await wides(stage)).toEqual([allProjects, allProjects]);
  expect(told.every(({ said }) => said === 'done')).toBe(true);
});

test('at the end nothing is asked any more', async () => {
  const { asked, project } = keystone({ kind: 'enabled' });
  const stage = await staged({ project });
  const told = stage.tell('bus', updated(stage));
  await stage.clock.advance(1_000);
  await stage.end();
  await stage.clock.advance(5_000);
  expect([asked, told.said]).toEqual([[], expect.any(Error)]);
  expect(newsOf(updated(stage)).about).toEqual(['p']);
});
