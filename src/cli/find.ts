// `sidegate find`: is a token of this user known here? Never the token itself.

import type { Command } from 'commander';
import { linesOf } from './answer-lines.ts';
import { type AskingOptions, askingOptions, openClient, untilInterrupted } from './connection.ts';
import { exits } from './exit.ts';
import { type IncludeOptions, includeOf, includeOptions } from './include-options.ts';
import { foundJson } from './json.ts';
import { openOutput } from './output.ts';
import { parseId } from './selector-options.ts';

interface Options extends AskingOptions, IncludeOptions {
  readonly user: string;
  readonly project?: string;
  readonly issuer?: string;
}

/** Adds the command. `done` takes its exit code. */
export function addFind(program: Command, done: (code: number) => void): void {
  const command = program
    .command('find')
    .summary('the newest active token of a user that is known here; exit code 1: none is')
    .description(
      'Tells the facts and the fingerprint of the newest active token of a user, on a project or unscoped, that the caches know; never the token itself. That none is found does not mean that none exists. Needs an identity. Exit code 0: found, 1: none, 3: no answer.',
    );
  const asking = askingOptions(command)
    .requiredOption('--user <id>', 'of this user', parseId)
    .option('--project <id>', 'on this project (default: an unscoped token)', parseId)
    .option('--issuer <name>', 'of this issuer; needed where the sidecar has several', parseId);
  includeOptions(asking)
    .addHelpText(
      'after',
      '\nExamples:\n  sidegate find --user 5f0c31 --project 1e24f1bd\n  sidegate find --issuer central --user 5f0c31 --json',
    )
    .action(async (options: Options) => done(await find(options)));
}

async function find(options: Options): Promise<number> {
  const output = openOutput(options);
  const { user, project, issuer } = options;
  const target = { userId: user, ...(project === undefined ? {} : { projectId: project }), ...(issuer === undefined ? {} : { issuer }) };
  return untilInterrupted(async (signal) => {
    const client = await openClient(options);
    try {
      await client.connected({ signal });
      const startedMs = performance.now();
      const found = await client.findToken(target, { include: includeOf(options), signal });
      const roundTripMs = performance.now() - startedMs;
      if (output.json) output.printJson(foundJson(found));
      else if (!found) output.print('none     no active token of that user is known here; others may exist');
      else for (const line of linesOf(found, { output, roundTripMs, nowMs: Date.now(), whole: true })) output.print(line);
      return found?.active ? exits.done : exits.notSo;
    } finally {
      client.close();
    }
  });
}
