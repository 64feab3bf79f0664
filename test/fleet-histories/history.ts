// One random history of three whole sidecars and a real log: made, and recorded.

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { FleetConfig } from '../../src/config/types.ts';
import { startMemcached } from '../fakes/memcached.ts';
import { issuerNames, startAuthorities } from './authorities.ts';
import { chanceOf } from './chance.ts';
import { allSound, disturb } from './faults.ts';
import type { Happening, Outcome } from './happening.ts';
import type { Rules } from './judge.ts';
import { openLine } from './line.ts';
import { createMember, type Member, type Settings } from './member.ts';
import { isAbout, issue, noneOf, operate, outcomeOf, type World } from './operations.ts';

/** A server that carries the log of a history, a new one. */
export interface LogServer {
  readonly port: number;
  /** How a sidecar reaches it at `port`; files go into `dir`. */
  fleet(dir: string, port: number): FleetConfig;
}

/** What was recorded. */
export interface Recorded {
  readonly history: readonly Happening[];
  readonly rules: Rules;
  readonly faults: readonly string[];
  readonly settings: Settings;
}

const names = ['one', 'two', 'three'] as const;
/** At each sidecar. */
const callers = 4;
/** On a busy machine. */
const slackMs = 2_000;
/** Who has no answer by then will have none. */
const lastMs = 20_000;

/** Plays it: `operations` in all, by callers of every sidecar at once, while things go wrong. */
export async function playHistory(server: LogServer, plan: { readonly seed: number; readonly operations: number }): Promise<Recorded> {
  const { seed, operations } = plan;
  const history: Happening[] = [];
  const note = (happening: Happening): void => void history.push(happening);
  const settings = settingsOf(seed);
  const dir = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-histories-'));
  const keyDir = join(dir, 'keys');
  mkdirSync(keyDir);
  writeFileSync(join(keyDir, 'one'), randomBytes(32));
  const memcached = await startMemcached();
  const authorities = await startAuthorities(dir, chanceOf(seed, 'authorities'), note);
  const members: Member[] = [];
  try {
    for (const name of names) {
      const own = join(dir, name);
      mkdirSync(own);
      const line = await openLine(server.port);
      const fleet = server.fleet(own, line.port);
      const parts = { name, dir: own, keyDir, line, fleet, memcachedPort: memcached.port, issuers: authorities.issuers, settings, note };
      members.push(createMember(parts));
    }
    await Promise.all(members.map((member) => member.start()));
    await allSound(members);
    const rules = { ...settings, lagMs: settings.maxLagMs, proofMs: 3 * settings.checkpointIntervalMs, slackMs };
    const nearMs = rules.proofMs + slackMs + 200;
    const world: World = {
      members,
      authorities,
      tokens: [],
      entries: [],
      handles: new Map(),
      fingerprints: new Map(),
      later: [],
      nearMs,
      note,
    };
    const chance = chanceOf(seed, 'beginning');
    for (let count = 0; count < 18; count += 1) await issue(world, chance, chance.of(issuerNames));

    const over = new AbortController();
    const disturbing = disturb({ members, memcached, note }, chanceOf(seed, 'faults'), over.signal);
    const each = Math.ceil(operations / (members.length * callers));
    const operating = members.flatMap((member) =>
      Array.from({ length: callers }, (_, at) => operate(world, member, chanceOf(seed, `${member.name} ${at}`), each)),
    );
    await Promise.all(operating).finally(() => over.abort());
    const faults = await disturbing;
    await allSound(members);
    await Promise.all(world.later);
    await askForAll(world);
    await watchersHaveAll(history);
    return { history, rules, faults, settings };
  } finally {
    await Promise.all(members.map((member) => member.close()));
    await Promise.all(members.map(({ line }) => line.close()));
    await Promise.all([memcached.close(), authorities.close()]);
    rmSync(dir, { recursive: true, force: true });
  }
}

function settingsOf(seed: number): Settings {
  const chance = chanceOf(seed, 'settings');
  return {
    timeMs: chance.of([1_500, 3_000, 8_000]),
    settleMs: chance.of([150, 400]),
    unknownMs: 500,
    maxLagMs: 3_000,
    checkpointIntervalMs: 200,
    whenDegraded: chance.of(['revalidate', 'serve-marked', 'refuse']),
  };
}

/** Each revocation, of everybody, by a token that it has killed. */
async function askForAll({ members, tokens, entries, note }: World): Promise<void> {
  for (const entry of entries.filter(({ effect }) => effect === 'REVOKE')) {
    const token = tokens.find((one) => isAbout(entry, one));
    if (token === undefined) continue;
    await Promise.all(
      members.map(async ({ name, client }) => {
        const askOnce = (): Promise<Outcome> =>
          client.validate(token.raw, { atLeastAsFresh: { entryId: entry.entryId } }).then(outcomeOf, noneOf);
        const untilMs = performance.now() + lastMs;
        let outcome = await askOnce();
        while (outcome.kind === 'none' && performance.now() < untilMs) {
          // Its client may not have found it again after a restart.
          await pause(100);
          outcome = await askOnce();
        }
        note({ kind: 'last', sidecar: name, entryId: entry.entryId, outcome });
      }),
    );
  }
}

/** What was told last may still be on its way to the watchers. */
async function watchersHaveAll(history: readonly Happening[]): Promise<void> {
  const untilMs = performance.now() + 10_000;
  const all = new Set(history.flatMap((one) => (one.kind === 'invalidated' ? names.map((name) => `${name} ${one.entryId}`) : [])));
  for (;;) {
    const there = new Set(history.flatMap((one) => (one.kind === 'placed' ? [`${one.sidecar} ${one.entryId}`] : [])));
    if ([...all].every((one) => there.has(one)) || performance.now() > untilMs) return;
    await pause(50);
  }
}
