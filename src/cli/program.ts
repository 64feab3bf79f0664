// The command line as a whole: its commands, and how what goes wrong is told and becomes an exit code.

import { Command, CommanderError } from 'commander';
import { NoAnswerError } from '../client/index.ts';
import { readVersion } from '../package.ts';
import { exits, UsageError } from './exit.ts';
import { addFind } from './find.ts';
import { addRefresh, addRevoke } from './invalidate.ts';
import { durationJson } from './json.ts';
import { plain, surviveReaders } from './output.ts';
import { addStatus } from './status.ts';
import { addValidate } from './validate.ts';
import { addWatch } from './watch.ts';

/** Runs the command that `args` (without node and the script) name. Answers its exit code; throws nothing. */
export async function run(args: readonly string[]): Promise<number> {
  let code: number = exits.done;
  let hasLost = false;
  surviveReaders(() => {
    hasLost = true;
    process.exitCode = exits.noAnswer;
  });
  const done = (its: number): void => {
    code = its;
  };
  try {
    const program = await programFor(args, done);
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    code = tellError(error, args);
  }
  return hasLost ? exits.noAnswer : code;
}

async function programFor(args: readonly string[], done: (code: number) => void): Promise<Command> {
  const program = new Command('sidegate')
    .description('Is this token good, right now? A sidecar that answers from memory and forgets no revocation.')
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this')
    .exitOverride()
    // Its messages repeat what was typed, which may be a token; ours do not.
    .configureOutput({ outputError: () => undefined })
    .addHelpText(
      'after',
      `
Exit codes: 0 active, done · 1 inactive, none found · 2 usage or configuration · 3 no answer · 4 done, but not as far as --wait asked · 130 interrupted

Examples:
  sidegate dev
  echo "$TOKEN" | sidegate validate
  sidegate COMMAND --help`,
    );
  // The sidecar's own libraries are loaded by the commands that need them: asking must start quickly.
  const [command] = args.filter((arg) => !arg.startsWith('-'));
  const isServing = command === undefined || !['validate', 'revoke', 'refresh', 'watch', 'find', 'status'].includes(command);
  if (isServing) {
    const [{ addDev }, { addServe }, { addConfig }] = await Promise.all([
      import('./develop.ts'),
      import('./serve.ts'),
      import('./configuration.ts'),
    ]);
    addDev(program, done);
    addServe(program, done);
    addConfig(program, done);
  }
  for (const add of [addValidate, addRevoke, addRefresh, addWatch, addFind, addStatus]) add(program, done);
  return program;
}

function tellError(error: unknown, args: readonly string[]): number {
  if (error instanceof CommanderError) {
    // Help and version have been printed already.
    if (error.exitCode === 0) return exits.done;
    const message = usageMessage(error);
    if (message) say(message);
    return exits.usage;
  }
  if (error instanceof UsageError) {
    say(error.message);
    return exits.usage;
  }
  if (error instanceof NoAnswerError) return tellNoAnswer(error, args.includes('--json'));
  // Its message may hold anything, so it is not printed; where it happened helps whoever mends it.
  const where = error instanceof Error ? (error.stack?.split('\n').find((line) => line.trimStart().startsWith('at ')) ?? '') : '';
  say(`something unforeseen went wrong: ${error instanceof Error ? error.name : typeof error} ${where.trim()}`);
  return exits.noAnswer;
}

/** What was waited for cannot be there with this configuration. */
const noFleet = 'NO_FLEET';

function tellNoAnswer(error: NoAnswerError, json: boolean): number {
  const { code, reason, retryAfterMs } = error;
  const message = error.message.replace(/ Resolution note: *$/, '');
  if (json) {
    const retryAfter = retryAfterMs === undefined ? {} : { retryAfter: durationJson(retryAfterMs) };
    process.stderr.write(`${JSON.stringify({ error: { code, reason, message, ...retryAfter } })}\n`);
  } else {
    // It has been answered: not so.
    if (code === 'INVALID_ARGUMENT') {
      say(`the sidecar refuses what was asked: ${reason === code ? '' : `${reason}: `}${message}`);
      return exits.usage;
    }
    if (reason === noFleet) {
      say('nothing was revoked: this sidecar is in no fleet, so nothing goes further than itself: leave --wait out, or configure `fleet`');
      return exits.usage;
    }
    const again = retryAfterMs === undefined ? '' : `; ask again in ${retryAfterMs} ms`;
    say(`no answer: ${code}${reason === code ? '' : ` ${reason}`}: ${message}${again}`);
    // Without a reason it was not a sidecar that said so.
    if (code === 'UNAVAILABLE' && reason === code) say('is a sidecar running there? See --address; `sidegate dev` starts one to play with');
  }
  return code === 'INVALID_ARGUMENT' || reason === noFleet ? exits.usage : exits.noAnswer;
}

/** What commander complains of, without what was typed: only names that we know or that look like the name of an option. */
function usageMessage({ code, message }: CommanderError): string {
  const text = message.replace(/^error: /, '');
  const suggestion = /\n(\(Did you mean .{1,60}\?\))$/.exec(text)?.[1] ?? '';
  switch (code) {
    case 'commander.unknownOption':
      return `${unknownOption(text)} ${suggestion}`.trimEnd();
    case 'commander.unknownCommand':
      return `there is no such command; see sidegate --help ${suggestion}`.trimEnd();
    case 'commander.invalidArgument': {
      const option = /^(?:option|command-argument value) '([^' ]*)/.exec(text)?.[1] ?? '';
      const why = text.slice(text.lastIndexOf(' is invalid. ') + ' is invalid. '.length);
      return `${option.replace(/^argument /, '')}: ${why}`;
    }
    case 'commander.missingMandatoryOptionValue':
      return `${/'(--[a-z-]+)/.exec(text)?.[1] ?? 'an option'} is missing; see --help`;
    case 'commander.optionMissingArgument':
      return `${/'(--[a-z-]+)/.exec(text)?.[1] ?? 'an option'} needs a value; see --help`;
    case 'commander.help':
      return '';
    default:
      // Of commander's other messages none repeats a value.
      return text;
  }
}

function unknownOption(text: string): string {
  const name = /^unknown option '([^'=]*)/.exec(text)?.[1] ?? '';
  return /^--?[a-z][a-z-]{0,30}$/.test(name) ? `there is no option ${name}; see --help` : 'there is no such option; see --help';
}

function say(message: string): void {
  process.stderr.write(`sidegate: ${plain(message)}\n`);
}
