// `sidegate watch`: every invalidation as it happens, a line each.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Cursor, formatCursor, type Invalidation, parseCursor, type WatchEvent, type WatchFilter } from '../client/index.ts';
import { type AskingOptions, askingOptions, openClient, untilInterrupted } from './connection.ts';
import { exits } from './exit.ts';
import { eventJson } from './json.ts';
import { type Output, openOutput } from './output.ts';
import { parseIds } from './selector-options.ts';
import { bringer, clockTime, concern, span } from './words.ts';

interface Options extends AskingOptions {
  readonly after?: Cursor;
  readonly snapshot?: boolean;
  readonly user?: readonly string[];
  readonly project?: readonly string[];
  readonly issuer?: readonly string[];
  readonly details?: boolean;
}

/** Adds the command. `done` takes its exit code. */
export function addWatch(program: Command, done: (code: number) => void): void {
  const command = program
    .command('watch')
    .summary('every invalidation as it happens')
    .description(
      'Prints every invalidation as it happens, until it is interrupted. A lost connection is made again, and nothing is missed.',
    );
  askingOptions(command)
    .option('--after <cursor>', 'from after this position on, JOURNAL:REVISION (default: from now)', parsePosition)
    .addOption(
      new Option('--snapshot', 'with everything first that still matters; needs an identity, which the socket gives').conflicts('after'),
    )
    .option('--user <id>', 'only what may concern one of these users (may be repeated)', parseIds)
    .option('--project <id>', 'only what may concern one of these projects (may be repeated)', parseIds)
    .option('--issuer <name>', 'only what may concern one of these issuers (may be repeated)', parseIds)
    .option('--details', 'say which tokens, who and why; needs an identity, which the socket gives')
    .addHelpText('after', '\nExamples:\n  sidegate watch --details\n  sidegate watch --after 7Q2M0K1R:4182 --json')
    .action(async (options: Options) => done(await watch(options)));
}

async function watch(options: Options): Promise<number> {
  const output = openOutput(options);
  const filter: WatchFilter = {
    ...(options.user ? { userIds: options.user } : {}),
    ...(options.project ? { projectIds: options.project } : {}),
    ...(options.issuer ? { issuers: options.issuer } : {}),
  };
  return untilInterrupted(async (interrupted) => {
    const client = await openClient(options);
    try {
      const signal = AbortSignal.any([interrupted, output.unread]);
      const teller = new Teller(output);
      const { after, snapshot = false, details = false } = options;
      for await (const event of client.watch({ signal, filter, details, snapshot, ...(after ? { after } : {}) })) {
        if (output.json) tellJson(event, output);
        else teller.tell(event);
      }
      return exits.done;
    } finally {
      client.close();
    }
  });
}

function tellJson(event: WatchEvent, output: Output): void {
  const message = eventJson(event);
  if (message) output.printJson(message);
  else if (event.kind === 'disconnected') output.say(lostLine(event.error.message, event.retryInMs));
}

/** Tells events to people: invalidations as data, and what changes about the stream itself beside it. */
class Teller {
  readonly #output: Output;
  #last = '';
  #state = '';

  constructor(output: Output) {
    this.#output = output;
  }

  tell(event: WatchEvent): void {
    switch (event.kind) {
      case 'opened':
        return;
      case 'invalidation':
        this.#invalidation(event);
        return;
      case 'checkpoint': {
        const degraded = event.degraded ? 'every issuer' : event.degradedIssuers.join(', ');
        const state = degraded === '' ? 'caught up' : `DEGRADED: ${degraded}`;
        // Only what is new: a line rewritten each second would also rewrite the prompt of whoever says `watch &`.
        if (state !== this.#state) this.#output.say(`sidegate: ${state}, as of ${formatCursor(event.cursor)}`);
        this.#state = state;
        return;
      }
      case 'reset':
        this.#output.say(`sidegate: RESET ${event.reason}: something is missing; on from ${formatCursor(event.cursor)}`);
        return;
      case 'snapshotEnd':
        this.#output.say(`sidegate: that is everything until now, as of ${formatCursor(event.cursor)}`);
        return;
      case 'disconnected':
        if (this.#state !== 'lost') this.#output.say(lostLine(event.error.message, event.retryInMs));
        this.#state = 'lost';
    }
  }

  /** One line for an entry, however many sets of tags it comes with (W2). */
  #invalidation(invalidation: Invalidation): void {
    const { cursor, effect, learnedAtMs, issuedBeforeMs, spreadMs } = invalidation;
    const position = formatCursor(cursor);
    if (position === this.#last) return;
    this.#last = position;
    const columns = [
      learnedAtMs === undefined ? ' '.repeat(12) : clockTime(learnedAtMs, true),
      position,
      this.#output.paint(effect === 'REVOKE' ? 'bad' : 'faint', effect.padEnd(7)),
      concern(invalidation),
      ...(issuedBeforeMs === undefined ? [] : [`issued until ${clockTime(issuedBeforeMs)}`]),
      ...(spreadMs === undefined ? [] : [`over ${span(spreadMs)}`]),
      ...(bringer(invalidation) === '' ? [] : [bringer(invalidation)]),
    ];
    this.#output.print(columns.join('  '));
  }
}

function lostLine(why: string, retryInMs: number): string {
  return `sidegate: the stream is gone (${why}); trying again, first in ${span(retryInMs)}`;
}

function parsePosition(text: string): Cursor {
  try {
    return parseCursor(text);
  } catch (error) {
    void error;
    throw new InvalidArgumentError('It is JOURNAL:REVISION, as it was printed.');
  }
}
