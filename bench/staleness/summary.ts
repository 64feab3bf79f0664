// What the rows show: how late answers were, by who told and by place; how many were wrong; what it cost Keystone. Pure.

import type { Told } from '../../test/oracle/action.ts';
import type { Judgement } from '../../test/oracle/judge.ts';
import type { PlaceName } from '../../test/oracle/places.ts';
import type { Cell } from '../../test/oracle/row.ts';
import { quantile, type Row as Reported } from '../report.ts';
import { tokenCacheSeconds } from './peer.ts';
import type { Played, PlayedRow } from './play.ts';
import { timing } from './stage.ts';

const places: readonly PlaceName[] = ['memory', 'shared', 'near'];

/** The way there and back, beside what the rules promise. */
const wayMs = 250;
const { settleMs, pollEveryMs, wideWindowMs, factsTimeMs, refusalTimeMs } = timing;
/** At most so many milliseconds for 99 of 100 answers, by who tells; what is not announced has its own time too. */
const wantedMs: Readonly<Record<Exclude<Told, 'silent'>, number>> = {
  bus: settleMs + wayMs,
  look: settleMs + wayMs,
  poll: pollEveryMs + wayMs,
  wide: 2 * wideWindowMs + wayMs,
  nobody: factsTimeMs + wayMs,
};
const titles: Readonly<Record<Exclude<Told, 'silent'>, string>> = {
  bus: 'announced by the bus',
  look: 'announced by the bus without saying what, and listed by Keystone',
  poll: 'only listed by Keystone',
  wide: 'announced, and names nobody: spread over the window, twice at most',
  nobody: 'told by nobody',
};

/** The rows of the report. */
export function summaryOf({ rows, failures }: Played): readonly Reported[] {
  const cells = rows.flatMap(({ row }) => row.cells);
  const broken = cells.flatMap((cell) => cell.broken);
  const settings = [...new Set(rows.map(({ setting }) => `${setting.provider}/${setting.format}`))];
  return [
    {
      answer: { name: 'staleness_wrong_cells', value: broken.length + failures.length, unit: 'cells', wanted: '<= 0' },
      note:
        `${cells.length} cells of ${rows.length} rows (${settings.join(', ')}): ${count(cells, ({ changedAfterMs }) => changedAfterMs !== undefined)} had to change; ` +
        `${count(cells, ({ place, firstFrom }) => place === 'shared' && firstFrom === 'shared')} of the second sidecar's were first found in memcached; ` +
        `${failures.length} rows could not be played; ${kindsOf(broken)}`,
    },
    ...(Object.keys(wantedMs) as (keyof typeof wantedMs)[]).flatMap((told) =>
      places.flatMap((place) => {
        const late = lateness(rows, place, (row, cell) => !isRevival(row, cell) && toldOf(row, cell) === told);
        return measured(`${told}_${place}`, late, wantedMs[told], titles[told]);
      }),
    ),
    ...places.flatMap((place) =>
      measured(`revived_${place}`, lateness(rows, place, isRevival), settleMs + refusalTimeMs + wayMs, 'came back to life, whoever told'),
    ),
    ...costs(rows),
    ...peers(rows),
  ];
}

/** One row for each action, place and measure, for machines: `npm run bench:staleness -- --json`. */
export function perAction(rows: readonly PlayedRow[]): readonly Reported[] {
  return actionsIn(rows).flatMap((name) =>
    places.flatMap((place) => {
      const late = lateness(rows, place, ({ row }) => row.action.name === name);
      if (late.length === 0) return [];
      const row = (what: string, value: number): Reported => ({
        answer: { name: `staleness_${name}_${place}_${what}`, value, unit: 'ms', wanted: null },
        note: `${late.length} answers`,
      });
      return [row('p50', quantile(late, 0.5)), row('p99', quantile(late, 0.99)), row('worst', Math.max(...late))];
    }),
  );
}

/** The same for people: a table. Actions by which no answer had to change are not in it. */
export function tableOf(rows: readonly PlayedRow[]): string {
  const lines = actionsIn(rows).flatMap((name) => {
    const here = rows.filter(({ row }) => row.action.name === name);
    const cells = places.map((place) => measures(lateness(here, place, () => true)));
    if (cells.every((cell) => cell === '–')) return [];
    const peer = here.flatMap((one) => one.peer?.acceptedForMs.map(({ ms }) => ms) ?? []);
    return [
      `| \`${name}\` | ${here[0]?.row.action.told} | ${cells.join(' | ')} | ${peer.length === 0 ? '' : (Math.max(...peer) / 1000).toFixed(1)} |`,
    ];
  });
  return [
    '| action | told by | memory: p50 / p99 / worst, s | shared tier | near cache | auth_token: worst, s |',
    '|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

function measured(name: string, late: readonly number[], wanted: number, title: string): readonly Reported[] {
  if (late.length === 0) return [];
  const row = (what: string, value: number, wanted: string | null): Reported => ({
    answer: { name: `staleness_${name}_${what}`, value, unit: 'ms', wanted },
    note: `${title}: from the reply to the changed answer; ${late.length} answers`,
  });
  return [row('p50', quantile(late, 0.5), null), row('p99', quantile(late, 0.99), `<= ${wanted}`), row('worst', Math.max(...late), null)];
}

/** Validations by a sidecar, of a token that something was told about; what nobody tells of is fetched again for its age. */
function costs(rows: readonly PlayedRow[]): readonly Reported[] {
  const told = rows.filter(({ row }) => row.action.told !== 'nobody').flatMap(({ counts }) => counts);
  const refreshed = told.filter(({ invalidations }) => invalidations > 0);
  if (refreshed.length === 0) return [];
  const each = refreshed.map(({ validations, invalidations }) => validations / invalidations);
  const untouched = told.filter(({ invalidations }) => invalidations === 0);
  return [
    {
      answer: { name: 'staleness_validations_per_refresh', value: Math.max(...each), unit: 'validations', wanted: '<= 2' },
      note: `S6, of a token by a sidecar for each entry of its journal that may concern it: the most; the median is ${quantile(each, 0.5).toFixed(2)} of ${each.length}`,
    },
    {
      answer: {
        name: 'staleness_validations_of_others',
        value: Math.max(0, ...untouched.map(({ validations }) => validations)),
        unit: 'validations',
        wanted: '<= 1',
      },
      note: `of a token by a sidecar in a row that told nothing about it (one where its facts came to 0.8 of their time, or the second sidecar asked first): ${untouched.length} tokens`,
    },
  ];
}

function peers(rows: readonly PlayedRow[]): readonly Reported[] {
  const watched = rows.flatMap(({ peer }) => (peer ? [peer] : []));
  const ms = watched.flatMap(({ acceptedForMs }) => acceptedForMs.map((one) => one.ms));
  if (ms.length === 0) return [];
  const given = watched.flatMap(({ givenUp }) => givenUp).length;
  const note =
    `Debian's auth_token, token_cache_time = ${tokenCacheSeconds} (its default is 300), the same Keystone and memcached: how long after the reply ` +
    `it let a dead token in; ${ms.length} tokens of ${watched.length} rows${given === 0 ? '' : `; ${given} were still let in ${tokenCacheSeconds + 5} s after`}`;
  const row = (what: string, value: number): Reported => ({
    answer: { name: `staleness_auth_token_${what}`, value, unit: 'ms', wanted: null },
    note,
  });
  return [row('p50', quantile(ms, 0.5)), row('worst', Math.max(...ms))];
}

function lateness(rows: readonly PlayedRow[], place: PlaceName, fits: (row: PlayedRow, cell: Cell) => boolean): readonly number[] {
  return rows.flatMap((row) =>
    row.row.cells.flatMap((cell) =>
      cell.place === place && cell.changedAfterMs !== undefined && fits(row, cell) ? [cell.changedAfterMs] : [],
    ),
  );
}

/** Nobody is let in too long by one that is taken for dead a little longer. */
const isRevival = ({ row }: PlayedRow, { kind }: Cell): boolean => row.truth.get(kind)?.before.accepted === false;

const toldOf = ({ row: { action } }: PlayedRow, { kind }: Cell): Told => action.toldOtherwise?.[kind] ?? action.told;

function measures(late: readonly number[]): string {
  if (late.length === 0) return '–';
  return [quantile(late, 0.5), quantile(late, 0.99), Math.max(...late)].map((ms) => (ms / 1000).toFixed(2)).join(' / ');
}

const actionsIn = (rows: readonly PlayedRow[]): readonly string[] => [...new Set(rows.map(({ row }) => row.action.name))];

function count<Thing>(things: readonly Thing[], fits: (thing: Thing) => boolean): number {
  return things.filter(fits).length;
}

function kindsOf(broken: readonly Judgement['broken'][number][]): string {
  const kinds = [...new Set(broken.map(({ what }) => what))];
  return kinds.length === 0 ? 'none is wrong' : kinds.map((kind) => `${count(broken, ({ what }) => what === kind)} ${kind}`).join(', ');
}
