// `sidegate status`: how the sidecar is. Also the probe of a pod that has nothing but the socket.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { formatCursor, NoAnswerError, type Status } from '../client/index.ts';
import { type AskingOptions, askingOptions, openClient, untilInterrupted } from './connection.ts';
import { exits } from './exit.ts';
import { fleetRow, fleetWaits, isOfFleet } from './fleet-words.ts';
import { statusJson } from './json.ts';
import { type Output, openOutput } from './output.ts';
import { watcherWords } from './watcher-words.ts';
import { clockTime, counted, short, span } from './words.ts';

interface Options extends AskingOptions {
  readonly wait?: 'serving';
  readonly quiet?: boolean;
}

/** How long `--wait` waits without `--timeout`, and how often it looks. */
const waitMs = 30_000;
const lookEveryMs = 200;
const oneLookMs = 2_000;
const serverPrefix = 'memcached/';
/** Keys of an issuer that are at hand. */
const keySetName = /^issuer\/(.+)\/keys\/([^/]+)$/;
const newsPrefix = 'news/';

/** Adds the command. `done` takes its exit code. */
export function addStatus(program: Command, done: (code: number) => void): void {
  const command = program
    .command('status')
    .summary('how the sidecar is; with --quiet a probe')
    .description(
      'Says how the sidecar is. Exit code 0: it serves, 1: it does not, 3: there is no answer, 4: not by the time --wait allows.',
    );
  askingOptions(command)
    .addOption(new Option('--wait <state>', 'wait until it serves, for --timeout (default then: 30s)').choices(['serving']))
    .option('--quiet', 'print nothing: the exit code says it')
    .addHelpText(
      'after',
      `
Examples:
  sidegate status
  sidegate status --wait serving --timeout 1m --quiet && start-my-service`,
    )
    .action(async (options: Options) => done(await status(options)));
}

async function status(options: Options): Promise<number> {
  const output = openOutput(options);
  return untilInterrupted(async (signal) => {
    const found = options.wait ? await waited(options, signal) : await look(options, signal);
    if (!options.quiet) {
      if (output.json) output.printJson(statusJson(found));
      else for (const line of linesOf(found, output, Date.now())) output.print(line);
    }
    if (found.serving) return exits.done;
    return options.wait ? exits.notAsFar : exits.notSo;
  });
}

// A client for each look: while one waits, the socket may come to be, and it is looked for anew.
async function look(options: Options, signal: AbortSignal): Promise<Status> {
  const client = await openClient(options);
  try {
    return await client.status({ signal });
  } finally {
    client.close();
  }
}

/** The first status that says it serves, or the last one in time. Throws NoAnswerError where none came. */
async function waited(options: Options, signal: AbortSignal): Promise<Status> {
  const endsAtMs = performance.now() + (options.timeout ?? waitMs);
  for (;;) {
    const leftMs = Math.max(1, endsAtMs - performance.now());
    const found = await look({ ...options, timeout: Math.min(oneLookMs, leftMs) }, signal).catch((error: unknown) => {
      // A sidecar that is not there yet is what is waited for; whoever may not ask waits in vain.
      if (error instanceof NoAnswerError && ['UNAVAILABLE', 'DEADLINE_EXCEEDED'].includes(error.code)) return error;
      throw error;
    });
    const isEnd = performance.now() + lookEveryMs >= endsAtMs;
    if (!(found instanceof NoAnswerError) && (found.serving || isEnd)) return found;
    if (isEnd) throw found;
    await sleep(lookEveryMs, undefined, { signal });
  }
}

function linesOf(status: Status, output: Output, nowMs: number): readonly string[] {
  const up = status.startedAtMs === undefined ? [] : [`up ${span(nowMs - status.startedAtMs)}`];
  const serving = status.serving ? output.paint('good', 'SERVING') : output.paint('bad', 'NOT SERVING');
  const keySets = status.dependencies.flatMap((dependency) => {
    const [, issuer, set] = keySetName.exec(dependency.name) ?? [];
    return issuer === undefined ? [] : [{ ...dependency, shown: `${issuer}/${set}` }];
  });
  const sources = status.sources.filter((source) => !isOfFleet(source));
  const fleet = fleetRow(status, nowMs);
  const width = Math.max(12, ...[...keySets.map(({ shown }) => shown), ...sources.map(({ name }) => name)].map(({ length }) => length));
  const row = (group: string, name: string, state: string, rest: readonly string[]): string =>
    `  ${group.padEnd(10)}${name.padEnd(width)}  ${state}${rest.length > 0 ? `   ${rest.join('   ')}` : ''}`.trimEnd();
  const ok = output.paint('good', 'ok  ');
  const bad = (word: string): string => output.paint('bad', word);

  const issuers = status.dependencies.filter(({ name }) => name.startsWith('issuer/') && !keySetName.test(name));
  const servers = status.dependencies.filter(({ name }) => name.startsWith(serverPrefix));
  const news = status.dependencies.filter(({ name }) => name.startsWith(newsPrefix));
  const named = new Set([...issuers, ...keySets, ...servers, ...news].map(({ name }) => name));
  const others = status.dependencies.filter((one) => !named.has(one.name) && !isOfFleet(one));
  // Who has not been asked yet is not away: no token of it has come.
  const stateOf = ({ reachable, problem }: Status['dependencies'][number], degraded: boolean): string => {
    if (!reachable) return problem === 'not asked yet' ? output.paint('faint', '–   ') : bad('AWAY');
    return degraded ? bad('DEGRADED') : ok;
  };
  const { applied, latest } = status;
  const position = applied && latest ? [`applied ${applied.revision} of ${latest.revision}`, `as of ${formatCursor(applied)}`] : [];
  return [
    [`sidegate ${status.version}`, status.sidecar, ...up, serving].join(' · '),
    ...issuers.map((issuer, index) => {
      const name = issuer.name.slice('issuer/'.length);
      const degraded = status.degradations.find((one) => one.issuer === name);
      const told = [
        ...(issuer.problem === undefined ? [] : [issuer.problem]),
        ...(issuer.lastAnswerAtMs === undefined ? [] : [`last answer ${span(nowMs - issuer.lastAnswerAtMs)} ago`]),
        ...(issuer.keySetDigest === undefined ? [] : [`key set ${short(issuer.keySetDigest)}`]),
        ...(degraded ? [`degraded: ${degraded.reasons.join(', ')}`] : []),
      ];
      return row(index === 0 ? 'issuer' : '', name, stateOf(issuer, degraded !== undefined), told);
    }),
    ...keySets.map(({ shown, reachable, problem, keySetDigest }, index) => {
      const told = [...(problem === undefined ? [] : [problem]), ...(keySetDigest === undefined ? [] : [`key set ${keySetDigest}`])];
      return row(index === 0 ? 'keys' : '', shown, reachable ? ok : bad('NOT USED'), told);
    }),
    ...sources.map((source, index) => {
      const { degradedSinceMs } = source;
      const problem = news.find(({ name }) => name === `${newsPrefix}${source.name}`)?.problem;
      const why = problem === undefined ? [] : [problem];
      const told = [
        ...(degradedSinceMs === undefined ? why : [[`since ${clockTime(degradedSinceMs)}`, ...why].join(': ')]),
        lastHeardOf(source, nowMs),
      ];
      return row(index === 0 ? 'news' : '', source.name, degradedSinceMs === undefined ? ok : bad('DEGRADED'), told);
    }),
    ...(fleet ? [row('fleet', fleet.engine, fleet.state === 'ok' ? ok : bad(fleet.state), fleet.told)] : []),
    ...others.map(({ name, reachable, problem }) => {
      const told = [
        ...(problem === undefined ? [] : [problem]),
        ...(name === 'journal' ? [...position, `${counted(status.entryCount)} live ${status.entryCount === 1 ? 'entry' : 'entries'}`] : []),
      ];
      return row(name, '', reachable ? ok : bad('AWAY'), told);
    }),
    ...tiersOf(status, servers, nowMs).map(([name, told], index) => row(index === 0 ? 'caches' : '', name, told, [])),
    ...waitingOf(status, nowMs).map(([name, told], index) => row(index === 0 ? 'waiting' : '', name, told, [])),
    row('watchers', '', watcherWords(status, nowMs), []),
  ];
}

/** Silence is not health: what came last, and that it lives, are two things. */
function lastHeardOf({ lastAliveAtMs, lastNewsAtMs }: Status['sources'][number], nowMs: number): string {
  if (lastAliveAtMs === undefined) return 'no sign of life yet';
  const news = lastNewsAtMs === undefined ? '' : `, last news ${span(nowMs - lastNewsAtMs)} ago`;
  return `last sign of life ${span(nowMs - lastAliveAtMs)} ago${news}`;
}

/** Each tier's name, and what is told of it. */
function tiersOf(status: Status, servers: Status['dependencies'], nowMs: number): readonly (readonly [string, string])[] {
  const out = servers.filter(({ reachable }) => !reachable).map((server) => outWords(server, nowMs));
  const up = `${servers.length - out.length} of ${servers.length} ${servers.length === 1 ? 'server' : 'servers'}`;
  const shared = `${up}${out.length === 0 ? '' : ` (${out.join('; ')})`}`;
  const tiers = status.tiers.map((tier) => {
    const hits =
      tier.lookupCount === 0 ? [] : [`${((100 * tier.hitCount) / tier.lookupCount).toFixed(1)} % hits of ${counted(tier.lookupCount)}`];
    if (tier.name === 'shared') return [tier.name, [shared, ...hits].join(', ')] as const;
    const tokens = `${counted(tier.tokenCount)} ${tier.tokenCount === 1 ? 'token' : 'tokens'}`;
    return [tier.name, [tokens, `${mebibytes(tier.sizeBytes)} of ${mebibytes(tier.maxSizeBytes)} MiB`, ...hits].join(', ')] as const;
  });
  const isMissing = servers.length > 0 && !tiers.some(([name]) => name === 'shared');
  return isMissing ? [...tiers, ['shared', shared]] : tiers;
}

function outWords({ name, problem, lastAnswerAtMs }: Status['dependencies'][number], nowMs: number): string {
  const since = lastAnswerAtMs === undefined ? '' : `, last answer ${span(nowMs - lastAnswerAtMs)} ago`;
  return `${name.slice(serverPrefix.length)} out${problem === undefined ? '' : `: ${problem}`}${since}`;
}

/** How telling the authorities and the fleet goes: all that waits, then each authority that has been told something. */
function waitingOf(status: Status, nowMs: number): readonly (readonly [string, string])[] {
  const { upstreamOutboxCount, forwardings } = status;
  const fleet = fleetWaits(status, nowMs);
  const toFleet = fleet === undefined ? [] : [['fleet', fleet] as const];
  const told = forwardings.filter((one) => one.pendingCount + one.acceptedCount + one.rejectedCount + one.expiredCount > 0);
  if (upstreamOutboxCount === 0 && told.length === 0) return toFleet;
  return [
    ['upstream', counted(upstreamOutboxCount)],
    ...told.map((one) => {
      const oldest = one.oldestAtMs === undefined ? '' : ` (the oldest for ${span(nowMs - one.oldestAtMs)})`;
      const words = [
        one.pendingCount === 0 ? '' : `${counted(one.pendingCount)} wait${oldest}`,
        `${counted(one.acceptedCount)} accepted`,
        one.rejectedCount === 0 ? '' : `${counted(one.rejectedCount)} refused`,
        one.expiredCount === 0 ? '' : `${counted(one.expiredCount)} ended before they could be told`,
      ];
      return [one.issuer, words.filter(Boolean).join(', ')] as const;
    }),
    ...toFleet,
  ];
}

function mebibytes(bytes: number): string {
  const mib = bytes / 1024 ** 2;
  return mib < 10 ? String(Math.round(mib * 10) / 10) : counted(Math.round(mib));
}
