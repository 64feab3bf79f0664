// Where the token in question comes from: standard input, a file, the environment. Never the arguments, which every process can read.

import { resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Transform, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import { secretFile } from '../config/secrets.ts';
import { UsageError } from './exit.ts';
import type { Output } from './output.ts';

/** What says where the token is. */
export interface TokenOptions {
  readonly tokenFile?: string;
}

const longestBytes = 1024 ** 2;
const longestWaitMs = 60_000;

/** Adds the argument `-` and the option `--token-file`. */
export function tokenOptions(command: Command): Command {
  return command
    .argument('[-]', 'read the token from standard input (the default where SIDEGATE_TOKEN is not set)')
    .allowExcessArguments()
    .option('--token-file <file>', 'read the token from this file (or set the variable SIDEGATE_TOKEN)');
}

/** Refuses arguments other than one `-`, without repeating them. */
export function checkArguments(given: readonly string[], what: string): void {
  if (given.every((argument) => argument === '-') && given.length <= 1) return;
  throw new UsageError(
    `a token is never given as an argument: every process of this machine can read it there, and the shell keeps it. ${what}`,
  );
}

/**
 * The token: of standard input with `-`, of `--token-file`, else of SIDEGATE_TOKEN, else of standard input. Whitespace around it is cut.
 * Throws UsageError where there is none, where two are named, and where it is larger than 1 MiB.
 */
export async function readToken(given: readonly string[], options: TokenOptions, output: Output, signal: AbortSignal): Promise<string> {
  const fromStdin = given.includes('-');
  if (fromStdin && options.tokenFile !== undefined)
    throw new UsageError('the token comes from standard input or from a file, not from both');
  if (options.tokenFile !== undefined) return readTokenFile(options.tokenFile);
  const variable = process.env['SIDEGATE_TOKEN'];
  if (!fromStdin && variable) {
    // Which of the two was meant cannot be told without waiting for one that may never come.
    // Said with --json too: who pipes one token and has another one in the environment must not kill the wrong one unseen.
    if (process.stdin.isTTY !== true) output.say('sidegate: the token is that of SIDEGATE_TOKEN; say "-" for standard input');
    return checked(variable, 'SIDEGATE_TOKEN');
  }
  if (!process.stdin.isTTY) return checked(await readStandardInput(signal), 'standard input');
  return checked(await readTerminal(output, signal), 'what was typed');
}

/** The token in a file. Throws UsageError where there is none. */
export async function readTokenFile(path: string): Promise<string> {
  return checked(await secretFile(resolve(path)).read().catch(unreadable), 'the file');
}

async function readTerminal(output: Output, signal: AbortSignal): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const asking = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  // The terminal is raw while it is read: Ctrl-C comes as a key, and Ctrl-D closes.
  asking.on('SIGINT', () => process.emit('SIGINT', 'SIGINT'));
  // Only now: what is typed before the terminal is raw would be shown.
  output.say('sidegate: type or paste the token, then Enter; it is not shown');
  const closed = new Promise<string>((resolve) => asking.once('close', () => resolve('')));
  try {
    return await Promise.race([asking.question('', { signal }), closed]);
  } finally {
    asking.close();
  }
}

async function readStandardInput(signal: AbortSignal): Promise<string> {
  let bytes = 0;
  const bounded = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > longestBytes) done(new UsageError('standard input is larger than 1 MiB: that is no token'));
      else done(null, chunk);
    },
  });
  const late = AbortSignal.timeout(longestWaitMs);
  const leave = (): void => void bounded.destroy(new UsageError(`no token came on standard input within ${longestWaitMs / 1000} s`));
  const end = AbortSignal.any([late, signal]);
  end.addEventListener('abort', leave, { once: true });
  // A broken standard input ends it: what came so far is judged.
  process.stdin.once('error', () => bounded.end());
  try {
    return await text(process.stdin.pipe(bounded));
  } finally {
    end.removeEventListener('abort', leave);
    process.stdin.destroy();
  }
}

function checked(raw: string, whence: string): string {
  const token = raw.trim();
  if (token === '') throw new UsageError(`there is no token: ${whence} is empty`);
  return token;
}

function unreadable(error: unknown): never {
  throw new UsageError(error instanceof Error ? error.message : 'the file of the token cannot be read');
}
