// What is told of a fleet: how far a revocation has gone, who is there, and what waits to be told to it.

import type { Reach, Revoked, SourceStatus, Status } from '../client/index.ts';
import { clockTime, counted, span, took } from './words.ts';

/** So many names fit in a line. */
const mostNames = 5;
const dependencyPrefix = 'fleet/';
const sourceName = /\/fleet$/;
const distances: readonly (Reach | 'unknown')[] = ['unknown', 'sidecar', 'shared', 'fleet'];

/** Whether it has gone as far as was asked for. What is acknowledged is applied here, whatever is said of it. */
export function isAsFar({ reach, entryId }: Revoked, wanted: Reach): boolean {
  // Where there was nothing to kill, nothing had to go anywhere.
  return wanted === 'sidecar' || entryId === '' || distances.indexOf(reach) >= distances.indexOf(wanted);
}

/** How far it has gone and, where that is not as far as asked for, who lags: `dead everywhere since 10:04:07.412, in 34 ms`. */
export function reachWords({ reach, reachedAtMs, laggingSidecars }: Revoked, wanted: Reach, tookMs: number): string {
  const since = reachedAtMs === undefined ? '' : ` since ${clockTime(reachedAtMs, true)}`;
  switch (reach) {
    case 'fleet':
      return `dead everywhere${since}, in ${took(tookMs)}`;
    case 'shared':
      return wanted === 'shared' ? `in the fleet's log${since}, in ${took(tookMs)}` : `in the fleet's log; ${laggards(laggingSidecars)}`;
    case 'sidecar': {
      const here = "applied here, and not known to be in the fleet's log: it is told until it is (see sidegate status)";
      return wanted === 'fleet' ? `${here}; ${laggards(laggingSidecars)}` : here;
    }
    case 'unknown':
      return 'how far it has gone is told in a word that is newer than this program';
  }
}

/** What a revocation would wait for, in words that follow `, and `; nothing where it only has to be applied. */
export function waitWords(wanted: Reach): string | undefined {
  return { sidecar: undefined, shared: "wait until it is in the fleet's log", fleet: 'wait until it is dead everywhere' }[wanted];
}

/** A fleet, as a row of status tells it. */
export interface FleetRow {
  /** Of the log. */
  readonly engine: string;
  readonly state: 'ok' | 'AWAY' | 'DEGRADED';
  readonly told: readonly string[];
}

/** Its row; undefined where there is none. */
export function fleetRow(status: Status, nowMs: number): FleetRow | undefined {
  const log = status.dependencies.find(isOfFleet);
  if (log === undefined && status.fleet === undefined) return undefined;
  // One log, told once for each issuer: what is worst of it holds.
  const sources = status.sources.filter(isOfFleet);
  const sinceMs = least(sources.map(({ degradedSinceMs }) => degradedSinceMs));
  const why = log?.problem === undefined ? [] : [log.problem];
  const away = log?.reachable === false;
  return {
    engine: log?.name.slice(dependencyPrefix.length) ?? '',
    state: away ? 'AWAY' : sinceMs === undefined ? 'ok' : 'DEGRADED',
    told: [
      ...(sinceMs === undefined ? why : [[`since ${clockTime(sinceMs)}`, ...why].join(': ')]),
      ...(status.fleet === undefined ? [] : [memberWords(status.fleet.members)]),
      ...(sources.length === 0 ? [] : [lifeWords(sources, nowMs)]),
    ],
  };
}

/** What waits to be told to it: a count, and for how long the oldest has. */
export function fleetWaits({ fleet }: Status, nowMs: number): string | undefined {
  if (fleet === undefined) return undefined;
  const oldest = fleet.oldestAtMs === undefined ? '' : ` (the oldest for ${span(nowMs - fleet.oldestAtMs)})`;
  return `${counted(fleet.outboxCount)}${oldest}`;
}

/** Whether a source or a dependency is the fleet's log, which has a row of its own. */
export function isOfFleet({ name }: { readonly name: string }): boolean {
  return name.startsWith(dependencyPrefix) || sourceName.test(name);
}

function laggards(names: readonly string[]): string {
  if (names.length === 0) return 'who applies it is not known yet';
  return `${listed(names)} ${names.length === 1 ? 'has not said that it applies it' : 'have not said that they apply it'}`;
}

function memberWords(names: readonly string[]): string {
  if (names.length === 0) return 'nobody else is there';
  const count = `${counted(names.length)} ${names.length === 1 ? 'other' : 'others'}`;
  return names.length > mostNames ? count : `${count}: ${names.join(', ')}`;
}

function lifeWords(sources: readonly SourceStatus[], nowMs: number): string {
  const lives = sources.map(({ lastAliveAtMs }) => lastAliveAtMs);
  const oldestMs = least(lives);
  return oldestMs === undefined || lives.includes(undefined) ? 'no sign of life yet' : `last sign of life ${span(nowMs - oldestMs)} ago`;
}

/** `a, b and c`; of many the first few, and how many more. */
function listed(names: readonly string[]): string {
  const shown = names.length > mostNames ? [...names.slice(0, mostNames - 1), `${counted(names.length - mostNames + 1)} more`] : names;
  return shown.length < 2 ? shown.join('') : `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}`;
}

function least(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((ms) => ms !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
