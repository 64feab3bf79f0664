// Plays row after row of the truth table in one setting, each with its action on a live Keystone.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Action } from '../../test/oracle/action.ts';
import { rowsFor, tableActions } from '../../test/oracle/actions.ts';
import type { Kind } from '../../test/oracle/kinds.ts';
import { otherRows } from '../../test/oracle/other-actions.ts';
import { forgetDead, playRow, prepare, type Row } from '../../test/oracle/row.ts';
import { makeThings, type Things } from '../../test/oracle/things.ts';
import { type Peer, type PeerRow, type PeerWatch, startPeer } from './peer.ts';
import { type Setting, type StalenessStage, skewMs, startStage, timing } from './stage.ts';

/** A row, with what else was seen in it. */
export interface PlayedRow {
  readonly setting: Setting;
  readonly row: Row;
  /** By sidecar and kind: validations, and entries of the journal that may concern the token. */
  readonly counts: readonly Count[];
  /** What auth_token did meanwhile, where it was asked. */
  readonly peer?: PeerRow;
}

/** How often one sidecar has asked about one token. */
export interface Count {
  readonly sidecar: number;
  readonly kind: Kind;
  readonly validations: number;
  readonly invalidations: number;
}

/** What could not be played to its end. */
export interface Failure {
  readonly setting: Setting;
  readonly action: string;
  readonly why: string;
}

/** Everything that was played. */
export interface Played {
  readonly rows: readonly PlayedRow[];
  readonly failures: readonly Failure[];
}

/** The rows that --quick plays, and beside which auth_token is watched: each way in which a token dies, comes back, or changes. */
export const quickRows: readonly string[] = [
  'user_update_name',
  'role_revoke_user_project_one_of_two',
  'role_regrant_user_project',
  'role_revoke_user_system_last',
  'group_remove_member',
  'domain_enable',
  'user_password_change_by_self',
  'user_enable',
  'token_revoke_project',
  'trust_delete',
  'project_delete',
  'role_delete_held',
];

/** What is played in a setting: `all` rows, those by which something dies or is taken away, or those of --quick. */
export function rowsOf(which: 'all' | 'takingAway' | 'quick'): readonly Action[] {
  if (which === 'quick') return rowsFor(quickRows);
  const all = [...tableActions, ...otherRows];
  return which === 'all' ? all : rowsFor(all.filter(({ takesAway }) => takesAway).map(({ name }) => name));
}

/** Between two questions about a token at a place. */
const intervalMs = 50;
/** How much longer than promised anything may take: beyond it an answer is not slow but wrong. */
const slackMs = 4000;

/**
 * Plays what `rowsOf` has of `which`; a row that fails is told, and the next one gets things of its own. All rows are in an order in which
 * what is taken away is given back; of those by which something is taken away each has things of its own.
 */
export async function play(
  root: string,
  setting: Setting,
  which: Parameters<typeof rowsOf>[0],
  say: (line: string) => void,
): Promise<Played> {
  const actions = rowsOf(which);
  const stage = await startStage(root, setting);
  const rows: PlayedRow[] = [];
  const failures: Failure[] = [];
  let peer: Peer | undefined;
  try {
    const isWhole = setting.provider === 'fernet' && setting.format === 'cadf';
    peer = isWhole ? await startPeer(root, stage) : undefined;
    let things: Things | undefined;
    for (const action of actions) {
      try {
        const isOnItsOwn = which === 'takingAway' && action.follows === undefined;
        if (things === undefined || action.onFreshThings || isOnItsOwn) things = await makeThings(stage.keystone);
        const did = await prepare(action, things);
        // Of what nobody tells nobody knows sooner: it would be taken for what the row does.
        if (did.some(({ told }) => told === 'nobody')) await sleep(timing.factsTimeMs);
        const played = await playOne(action, things, stage, quickRows.includes(action.name) ? peer : undefined);
        rows.push(played);
        say(lineOf(played));
        if (!isFollowed(action, actions)) forgetDead(played.row, things);
      } catch (error) {
        failures.push({ setting, action: action.name, why: error instanceof Error ? error.message : String(error) });
        say(`${action.name}: FAILED: ${failures.at(-1)?.why}`);
        things = undefined;
      }
    }
  } finally {
    await peer?.end();
    await stage.close();
  }
  return { rows, failures };
}

function isFollowed(action: Action, actions: readonly Action[]): boolean {
  return actions[actions.indexOf(action) + 1]?.follows === action.name;
}

async function playOne(action: Action, things: Things, stage: StalenessStage, peer: Peer | undefined): Promise<PlayedRow> {
  const { counters, places, truth, setting } = stage;
  const tags = new Map<Kind, readonly bigint[]>();
  let watched: PeerWatch | undefined;
  const beginning = async (tokens: ReadonlyMap<Kind, string>): Promise<void> => {
    for (const [kind, token] of tokens) {
      const answer = await places[0]?.ask(token);
      if (answer?.tags) tags.set(kind, answer.tags);
    }
    watched = await peer?.watch(tokens);
    for (const counter of counters) counter.forget();
  };
  const sharing = (good: readonly string[]): Promise<void> => shared(stage, good);
  const row = await playRow(action, things, { truth, places, timing, intervalMs, slackMs, sharing, beginning });
  const counts = counters.flatMap((counter, sidecar) =>
    [...tags].map(([kind, wanted]) => ({
      sidecar,
      kind,
      validations: counter.validations(things.tokens.get(kind)?.token ?? ''),
      invalidations: counter.invalidations(wanted),
    })),
  );
  const isAlive = [...row.truth.values()].some(({ before }) => before.accepted);
  if (!isAlive && action.follows === undefined) throw new Error('none of its tokens was good before it: nothing was shown');
  const peerRow = await watched?.until(row);
  return { setting, row, counts, ...(peerRow && { peer: peerRow }) };
}

/** Has the first sidecar fetch them when nothing has been told for so long that the second takes what it finds in the tier. */
async function shared({ counters, sidecars }: StalenessStage, tokens: readonly string[]): Promise<void> {
  const quietMs = timing.settleMs + skewMs + 500;
  const untilMs = performance.now() + 60_000;
  const isQuiet = (): boolean => counters.every((counter) => performance.now() - counter.quietSinceMs() > quietMs);
  while (!isQuiet()) {
    if (performance.now() > untilMs) throw new Error('news come all the time: nothing can be shared');
    await sleep(100);
  }
  await Promise.all(tokens.map((token) => sidecars[0]?.client.validate(token, { maxStalenessMs: 200 })));
}

function lineOf({ row, counts }: PlayedRow): string {
  const broken = row.cells.flatMap(({ kind, place, broken }) =>
    broken.map(({ what, note }) => `${what} ${kind} in ${place}: ${note.slice(0, 200)}`),
  );
  const changed = row.cells.flatMap(({ changedAfterMs }) => (changedAfterMs === undefined ? [] : [changedAfterMs]));
  const worst =
    changed.length === 0
      ? 'nothing had to change'
      : `${changed.length} answers changed, the last after ${Math.round(Math.max(...changed))} ms`;
  const asked = Math.max(0, ...counts.map(({ validations }) => validations));
  return `${row.action.name}: ${worst}; at most ${asked} validations of a token by a sidecar${broken.map((line) => `\n    ${line}`).join('')}`;
}
