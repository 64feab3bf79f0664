// `sidegate config`: what is in force and where it comes from, and the schema of what may be written.

import type { Command } from 'commander';
import { formatProblems, type LoadedConfig, loadConfig } from '../config/load.ts';
import { printConfig } from '../config/print.ts';
import { configSchema } from '../config/schema.ts';
import { exits } from './exit.ts';

/** Adds the commands. `done` takes their exit code. */
export function addConfig(program: Command, done: (code: number) => void): void {
  const config = program.command('config').summary('what is in force, and what may be written').description('Tells about configurations.');
  config
    .command('print')
    .summary('what is in force and where each value came from')
    .description('Prints every setting in force and where it came from: default, file and line, environment. Secrets are never printed.')
    .option('--config <file>', 'without it: the defaults')
    .addHelpText('after', '\nExample:\n  sidegate config print --config sidegate.yaml')
    .action(({ config: file }: { readonly config?: string }) => done(print(file)));
  config
    .command('schema')
    .summary('JSON Schema, for editors and CI')
    .description('Prints the JSON Schema (2020-12) of the configuration.')
    .addHelpText('after', '\nExample:\n  sidegate config schema > sidegate.schema.json')
    .action(() => {
      process.stdout.write(`${JSON.stringify(configSchema(), undefined, 2)}\n`);
      done(exits.done);
    });
}

/** The configuration in `file`, or undefined where something is wrong with it: all of that has been said then. Warnings are said too. */
export function loadOrSay(file: string | undefined, purpose: 'serve' | 'dev'): LoadedConfig | undefined {
  const loaded = loadConfig({ ...(file === undefined ? {} : { path: file }), env: process.env, purpose });
  const name = file ?? '(defaults)';
  if (!loaded.ok) {
    process.stderr.write(`${formatProblems(loaded.problems, name)}\n`);
    return undefined;
  }
  for (const warning of loaded.warnings) process.stderr.write(`warning: ${formatProblems([warning], name)}\n`);
  return loaded;
}

function print(file: string | undefined): number {
  // The defaults alone have no issuer, which only `serve` minds.
  const loaded = loadOrSay(file, file === undefined ? 'dev' : 'serve');
  if (!loaded) return exits.usage;
  process.stdout.write(printConfig(loaded, file ?? '(defaults)'));
  return exits.done;
}
