// A command's way to the sidecar: the options that every asking command has, the client made of them, and what ends the asking.

import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { defaultPort, defaultSocket } from '../client/default-address.ts';
import { type Client, type ConnectOptions, connect } from '../client/index.ts';
import { secretFile } from '../config/secrets.ts';
import { parseDuration } from '../config/units.ts';
import { exits, UsageError } from './exit.ts';

/** The options of `askingOptions`, as they come. */
export interface AskingOptions {
  readonly address?: string;
  readonly callerTokenFile?: string;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  /** Milliseconds. */
  readonly timeout?: number;
  readonly json?: boolean;
  readonly color?: boolean;
}

const longestTimeoutMs = 600_000;

/** Adds the options that every command has which asks a sidecar. */
export function askingOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--address <address>', `where the sidecar listens (default: unix://${defaultSocket}, then ${defaultPort})`)
        .env('SIDEGATE_ADDRESS')
        .argParser(parseAddress),
    )
    .option('--caller-token-file <file>', 'our own token, for what needs an identity (or the variable SIDEGATE_CALLER_TOKEN)')
    .option('--tls-ca <file>', 'who vouches for a sidecar on another host (PEM)')
    .option('--tls-cert <file>', 'our certificate there (PEM); with --tls-key')
    .option('--tls-key <file>', 'its key (PEM)')
    .option('--timeout <duration>', 'how long an answer may take, for example 500ms (default: 5s)', parseTimeout)
    .option('--json', 'one JSON object per line, named as in the API')
    .option('--no-color', 'no colours (or the variable NO_COLOR)');
}

/** A client of the sidecar that the options name. `callerToken` is read for each call: it may be exchanged. */
export async function openClient({ address, callerTokenFile, timeout, ...tls }: AskingOptions): Promise<Client> {
  const fromEnvironment = process.env['SIDEGATE_CALLER_TOKEN']?.trim();
  const file = callerTokenFile === undefined ? undefined : secretFile(resolve(callerTokenFile));
  const callerToken = file ? async () => (await file.read()).trim() : fromEnvironment;
  return connect({
    ...tlsOf(tls, address),
    ...(address === undefined ? {} : { address }),
    ...(callerToken ? { callerToken } : {}),
    ...(timeout === undefined ? {} : { timeoutMs: timeout }),
  });
}

/** Any of them asks for TLS. Files are read for each connection: certificates of workloads live for an hour. */
function tlsOf({ tlsCa, tlsCert, tlsKey }: AskingOptions, address: string | undefined): Pick<ConnectOptions, 'tls'> {
  if (tlsCa === undefined && tlsCert === undefined && tlsKey === undefined) return {};
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw new UsageError('--tls-cert and --tls-key belong together');
  if (address === undefined || address.startsWith('unix:')) throw new UsageError('--tls-… are for a sidecar at --address host:port');
  return {
    tls: {
      ...(tlsCa === undefined ? {} : { caFile: resolve(tlsCa) }),
      ...(tlsCert === undefined ? {} : { certFile: resolve(tlsCert) }),
      ...(tlsKey === undefined ? {} : { keyFile: resolve(tlsKey) }),
    },
  };
}

/** `--timeout`: a duration of the configuration, from 1 ms to ten minutes. */
export function parseTimeout(text: string): number {
  const ms = parseDuration(text);
  if (ms >= 1 && ms <= longestTimeoutMs) return ms;
  throw new InvalidArgumentError('It is a duration such as 500ms, 5s or 2m, at most 10m.');
}

/** Runs `task`. The first SIGINT aborts its signal and makes the exit code 130; a second one ends the process at once. */
export async function untilInterrupted(task: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const interruption = new AbortController();
  const interrupt = (): void => {
    if (interruption.signal.aborted) process.exit(exits.interrupted);
    interruption.abort();
  };
  process.on('SIGINT', interrupt);
  try {
    const code = await task(interruption.signal);
    return interruption.signal.aborted ? exits.interrupted : code;
  } catch (error) {
    // What fails because it was interrupted is no failure.
    if (interruption.signal.aborted) return exits.interrupted;
    throw error;
  } finally {
    process.off('SIGINT', interrupt);
  }
}

function parseAddress(text: string): string {
  if (/^unix:\/{0,2}\/[^/]/.test(text)) return text;
  if (/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/.test(text)) return text;
  throw new InvalidArgumentError('It is unix:///path/of/a/socket or host:port.');
}
