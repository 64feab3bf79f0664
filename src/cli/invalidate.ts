// `sidegate revoke` and `sidegate refresh`: kill tokens, or have their facts fetched again.

import { createInterface } from 'node:readline/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  type Forwarding,
  formatCursor,
  type Invalidated,
  type Reach,
  type Revoked,
  type RevokeTarget,
  type SelectorFields,
} from '../client/index.ts';
import { type AskingOptions, askingOptions, openClient, untilInterrupted } from './connection.ts';
import { exits, UsageError } from './exit.ts';
import { isAsFar, reachWords, waitWords } from './fleet-words.ts';
import { invalidatedJson, reachNames, selectorJson, timeJson } from './json.ts';
import { type Output, openOutput } from './output.ts';
import { selectorOf, selectorOptions } from './selector-options.ts';
import { checkArguments, readToken, type TokenOptions, tokenOptions } from './token-source.ts';
import { aboutWhich, clockTime, took } from './words.ts';

interface RefreshOptions extends AskingOptions {
  readonly reason?: string;
  readonly yes?: boolean;
}

interface RevokeOptions extends RefreshOptions, TokenOptions {
  /** Milliseconds since the epoch. */
  readonly issuedBefore?: number;
  readonly dryRun?: boolean;
  readonly wait: Reach;
  readonly handle?: boolean;
  /** Undefined: as configured. */
  readonly forward?: boolean;
}

/** Adds `revoke`. `done` takes its exit code. */
export function addRevoke(program: Command, done: (code: number) => void): void {
  const command = program
    .command('revoke')
    .summary('kill a token that you hold, or all tokens that fit')
    .description(
      'Kills a token (having it is enough) or, for authorised callers, all tokens that fit. Durable and applied when it ends. The time printed is the call alone, as seen from here, without connecting. Exit code 4: it is revoked, and had not gone as far as --wait asks by --timeout.',
    );
  askingOptions(selectorOptions(tokenOptions(command)))
    .option('--issued-before <time>', 'only tokens issued at or before this: RFC 3339, or seconds since 1970', parseTime)
    .option('--reason <text>', 'why; kept in the journal')
    .addOption(
      new Option('--wait <reach>', "how far it must have gone: applied here, in the fleet's log, or dead on every sidecar of the fleet")
        .choices(['sidecar', 'shared', 'fleet'] satisfies readonly Reach[])
        .default('sidecar' satisfies Reach),
    )
    .option('--handle', 'what is read is a handle, not a token')
    .option('--forward', 'tell its authority too, now or as soon as it can be reached (default: as configured); only of one token')
    .option('--no-forward', 'do not tell its authority')
    .option('--dry-run', 'say what would be sent, and send nothing')
    .option('--yes', 'do not ask; needed for a selector where there is no terminal')
    .addHelpText(
      'after',
      `
Examples:
  echo "$TOKEN" | sidegate revoke --reason "found in a log"
  sidegate revoke --token-file token.txt --forward
  sidegate revoke --issuer central --user 5f0c31 --yes
  sidegate revoke --issuer central --user 5f0c31 --yes --wait fleet --timeout 15s
  sidegate revoke --project 1e24f1bd --issued-before 2026-11-21T10:00:00Z --dry-run`,
    )
    .action(async (_first: unknown, options: RevokeOptions) => done(await revoke(command.args, options)));
}

/** Adds `refresh`. `done` takes its exit code. */
export function addRefresh(program: Command, done: (code: number) => void): void {
  const command = program
    .command('refresh')
    .summary('have the facts of tokens fetched again; kills nothing')
    .description('Has the facts of all tokens that fit fetched again before they are believed. Kills nothing. Needs an identity.');
  askingOptions(selectorOptions(command))
    .option('--catalog', 'the service catalogs, and no token; with --issuer those of it')
    .option('--reason <text>', 'why; kept in the journal')
    .option('--yes', 'do not ask; needed for --everything where there is no terminal')
    .addHelpText(
      'after',
      '\nExamples:\n  sidegate refresh --issuer central --user 5f0c31\n  sidegate refresh --catalog\n  sidegate refresh --everything --yes',
    )
    .action(async (options: RefreshOptions) => done(await refresh(options)));
}

async function revoke(given: readonly string[], options: RevokeOptions): Promise<number> {
  checkArguments(given, 'Try: echo "$TOKEN" | sidegate revoke');
  const output = openOutput(options);
  const selector = selectorOf({ ...options });
  const namesToken = given.includes('-') || options.tokenFile !== undefined;
  if (selector && namesToken) throw new UsageError('revoke one token, or all that fit: not both at once');
  if (!selector && 'issuer' in options) throw new UsageError('--issuer alone names no token: say --everything beside it, or which tokens');
  if (!selector && options.issuedBefore !== undefined)
    throw new UsageError('a single token is killed whenever it was issued: leave --issued-before out');
  if (selector && (options.forward || options.handle))
    throw new UsageError(`--${options.handle ? 'handle' : 'forward'} is about one token: an authority is told of a token that one holds`);
  return untilInterrupted(async (signal) => {
    const target = selector ? { selector } : await readTarget(given, options, output, signal);
    if (options.dryRun) return tellDryRun(target, options, output);
    if (selector && !options.yes && !(await confirmed(`Revoke ${describe(selector, options.issuedBefore)}`, noTerminal.revoke, signal))) {
      output.say('sidegate: nothing was revoked');
      return exits.notSo;
    }
    const client = await openClient(options);
    try {
      await client.connected({ signal });
      const startedMs = performance.now();
      const sent = {
        signal,
        waitFor: options.wait,
        ...reasonOf(options),
        ...(options.issuedBefore === undefined ? {} : { issuedBeforeMs: options.issuedBefore }),
        ...(options.forward === undefined ? {} : { forward: options.forward }),
      };
      const revoked = await client.revoke(target, sent);
      tellRevoked(revoked, options.wait, performance.now() - startedMs, output);
      return isAsFar(revoked, options.wait) ? exits.done : exits.notAsFar;
    } finally {
      client.close();
    }
  });
}

async function refresh(options: RefreshOptions): Promise<number> {
  const output = openOutput(options);
  const selector = selectorOf({ ...options });
  if (!selector) throw new UsageError('refresh needs to know which tokens, for example --user ID; all of them is --everything');
  return untilInterrupted(async (signal) => {
    const isAsked = selector.everything === true && !options.yes;
    if (isAsked && !(await confirmed(`Have ${aboutWhich(selector)} fetched again`, noTerminal.refresh, signal))) {
      output.say('sidegate: nothing was refreshed');
      return exits.notSo;
    }
    const client = await openClient(options);
    try {
      await client.connected({ signal });
      const startedMs = performance.now();
      tell('REFRESH', await client.refresh(selector, { signal, ...reasonOf(options) }), performance.now() - startedMs, output);
      return exits.done;
    } finally {
      client.close();
    }
  });
}

function tellRevoked(revoked: Revoked, wanted: Reach, tookMs: number, output: Output): void {
  // The time of a call that waits for others is told with how far it has gone.
  tell('REVOKE', revoked, wanted === 'sidecar' ? tookMs : undefined, output);
  if (output.json) return;
  if (wanted !== 'sidecar' && revoked.entryId !== '') output.print(`${indent}${reachWords(revoked, wanted, tookMs)}`);
  if (revoked.forwarding !== undefined) output.print(`${indent}${forwardingWords[revoked.forwarding]}`);
}

function tell(effect: 'REVOKE' | 'REFRESH', invalidated: Invalidated, tookMs: number | undefined, output: Output): void {
  const { entryId, asOf } = invalidated;
  const applied = tookMs === undefined ? 'applied' : `applied in ${took(tookMs)}`;
  if (output.json) output.printJson(invalidatedJson(invalidated));
  else if (entryId === '') output.print(`${effect.padEnd(8)} nothing to do: nobody here would have accepted that token`);
  else output.print(`${effect.padEnd(8)} ${applied} · as of ${formatCursor(asOf)} · entry ${entryId}`);
}

async function readTarget(given: readonly string[], options: RevokeOptions, output: Output, signal: AbortSignal): Promise<RevokeTarget> {
  const read = await readToken(given, options, output, signal);
  return options.handle ? { handle: read } : { token: read };
}

const indent = ' '.repeat(9);

const forwardingWords: { readonly [forwarding in Forwarding]: string } = {
  accepted: 'its authority has revoked it too',
  pending: 'its authority cannot be told yet: it is told as soon as it can be reached (see sidegate status)',
  rejected: 'its authority refuses to revoke it: it is dead here, and good there until it ends',
  unknown: 'what its authority said is newer than this program',
};

function tellDryRun(target: RevokeTarget, { reason, issuedBefore, forward, wait }: RevokeOptions, output: Output): number {
  if (output.json) {
    const hidden = 'handle' in target ? { handle: '(not shown)' } : { token: '(not shown)' };
    const which = 'selector' in target ? { selector: selectorJson(target.selector) } : hidden;
    output.printJson({
      dryRun: true,
      ...which,
      ...timeJson('issuedBefore', issuedBefore),
      ...(reason ? { reason } : {}),
      waitFor: reachNames[wait],
      ...(forward === undefined ? {} : { forward: forward ? 'FORWARD_ALWAYS' : 'FORWARD_NEVER' }),
    });
  } else {
    const which = 'selector' in target ? describe(target.selector, issuedBefore) : 'the given token';
    const told = forward === undefined ? '' : forward ? ', and tell its authority' : ', and not tell its authority';
    const waits = waitWords(wait);
    const why = reason ? `, because ${JSON.stringify(reason)}` : '';
    output.print(`would revoke ${which}${told}${waits === undefined ? '' : `, and ${waits}`}${why}; nothing was sent`);
  }
  return exits.done;
}

/** What is said where nobody can be asked. */
const noTerminal = {
  revoke: 'many tokens may die: add --yes, as there is no terminal to ask at (--dry-run says what would be sent)',
  refresh: 'every token will be fetched again: add --yes, as there is no terminal to ask at',
} as const;

async function confirmed(question: string, unasked: string, signal: AbortSignal): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) throw new UsageError(unasked);
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // The terminal is raw while we ask: Ctrl-C comes as a key, and is passed on as what it means everywhere else.
    asking.on('SIGINT', () => process.emit('SIGINT', 'SIGINT'));
    const reply = await asking.question(`${question}? [y/N] `, { signal });
    return /^y(es)?$/i.test(reply.trim());
  } finally {
    asking.close();
  }
}

function describe(selector: SelectorFields, issuedBefore: number | undefined): string {
  return `${aboutWhich(selector)}${issuedBefore === undefined ? '' : `, issued until ${new Date(issuedBefore).toISOString()} (here ${clockTime(issuedBefore)})`}`;
}

function reasonOf({ reason }: RefreshOptions): { readonly reason?: string } {
  return reason === undefined ? {} : { reason };
}

/** RFC 3339 or whole seconds since 1970, in milliseconds. */
function parseTime(text: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text) * 1000;
  const ms = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  throw new InvalidArgumentError('It is a time such as 2026-11-21T10:00:00Z, or whole seconds since 1970.');
}
