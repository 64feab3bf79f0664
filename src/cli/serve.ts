// `sidegate serve`: the sidecar itself, from a configuration to the end of its drain.

import type { Command } from 'commander';
import type { Config } from '../config/types.ts';
import { createSidecar } from '../sidecar.ts';
import { loadOrSay } from './configuration.ts';
import { exits } from './exit.ts';

interface Options {
  readonly config: string;
  readonly check?: boolean;
}

/** Adds the command. `done` takes its exit code. */
export function addServe(program: Command, done: (code: number) => void): void {
  program
    .command('serve')
    .summary('run the sidecar')
    .description('Runs the sidecar until SIGTERM or SIGINT, then drains; a second signal ends it at once. Log lines go to standard output.')
    .requiredOption('--config <file>', 'the configuration, YAML')
    .option('--check', 'only say everything that is wrong with it; exit code 2 where something is')
    .addHelpText(
      'after',
      '\nExamples:\n  sidegate serve --config /etc/sidegate/sidegate.yaml\n  sidegate serve --config sidegate.yaml --check',
    )
    .action(async (options: Options) => done(await serve(options)));
}

async function serve({ config: file, check }: Options): Promise<number> {
  const loaded = loadOrSay(file, 'serve');
  if (!loaded) return exits.usage;
  if (check) {
    process.stdout.write(`${file}: nothing is wrong\n`);
    return exits.done;
  }
  return untilStopped((signal) => start(loaded.config, signal));
}

async function start(config: Config, signal: AbortSignal): Promise<number> {
  const running = await createSidecar({ config }).start(signal);
  await running.stopped;
  return exits.done;
}

/**
 * Runs `task`. SIGTERM or SIGINT aborts its signal; a second one ends the process at once.
 * Says in one line why `task` failed: exit code 2 where what is configured cannot be had, 3 otherwise.
 */
export async function untilStopped(task: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const stopping = new AbortController();
  const stop = (name: 'SIGTERM' | 'SIGINT'): void => {
    if (stopping.signal.aborted) process.exit(name === 'SIGINT' ? exits.interrupted : 143);
    stopping.abort();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  try {
    return await task(stopping.signal);
  } catch (error) {
    if (!isSaidInWords(error)) throw error;
    process.stderr.write(`sidegate: cannot start: ${error.message}\n`);
    return error.code === 'FAILED_PRECONDITION' ? exits.usage : exits.noAnswer;
  } finally {
    process.off('SIGTERM', stop);
    process.off('SIGINT', stop);
  }
}

/** An error of ours: its message is for people. */
function isSaidInWords(error: unknown): error is Error & { readonly code: string } {
  return (
    error instanceof Error &&
    (error.name === 'SidecarError' || error.name === 'NoAnswerError') &&
    'code' in error &&
    typeof error.code === 'string'
  );
}
