// `sidegate dev`: something to play with in one command, and its tour.

import type { Command } from 'commander';
import { type Dev, startDev } from '../dev/dev.ts';
import { playTour } from '../dev/tour.ts';
import { readVersion } from '../package.ts';
import { exits } from './exit.ts';
import { untilStopped } from './serve.ts';

interface Options {
  readonly tour?: boolean;
  readonly json?: boolean;
}

/** Adds the command. `done` takes its exit code. */
export function addDev(program: Command, done: (code: number) => void): void {
  const command = program
    .command('dev')
    .summary('an issuer, a sidecar and three tokens to play with')
    .description('Runs an embedded issuer and a sidecar that trusts it, and prints tokens and what to try. Nothing is kept when it ends.')
    .option('--tour', 'play the whole idea in fifteen seconds, and end')
    .option('--json', 'print one line when it serves: where, and the tokens')
    .addHelpText('after', '\nExamples:\n  sidegate dev\n  sidegate dev --tour')
    .action(async (options: Options) => {
      if (options.tour && options.json)
        command.error('error: option --tour cannot be used with option --json', { code: 'commander.conflictingOption' });
      done(await untilStopped((signal) => develop(options, signal)));
    });
}

async function develop(options: Options, signal: AbortSignal): Promise<number> {
  // The tour ends by itself, and everything that was started with it.
  const ending = new AbortController();
  const dev = await startDev({ log: (line) => void process.stderr.write(line) }, AbortSignal.any([signal, ending.signal]));
  try {
    if (options.tour) {
      const kept = await playTour(dev, (line) => void process.stdout.write(`${line}\n`), signal);
      if (signal.aborted) return exits.interrupted;
      return kept ? exits.done : exits.notSo;
    }
    process.stdout.write(options.json ? `${jsonLine(dev)}\n` : words(dev));
    await dev.stopped;
    return exits.done;
  } finally {
    ending.abort();
    await dev.stopped;
  }
}

function jsonLine({ grpc, socket, operations, issuer }: Dev): string {
  return JSON.stringify({ grpc, socket, operations, tokens: issuer.tokens.map(({ name, token }) => ({ name, token })) });
}

function words({ grpc, socket, operations, issuer, notes }: Dev): string {
  const [first, ...others] = issuer.tokens;
  const described = ({ name, kind }: (typeof issuer.tokens)[number]): string =>
    `${name}, ${kind === 'jwt' ? 'a signed token (JWT)' : 'an opaque token'}`;
  return `sidegate ${readVersion()}: an issuer, a sidecar and three tokens to play with. Ctrl-C ends it.

  socket      ${socket}   may do everything
  loopback    ${grpc}   may validate, watch, ask for the status, and revoke a token that it holds
  operations  http://${operations}/metrics
  issuer      ${issuer.url}
${notes.map((note) => `\n  ${note}`).join('')}${notes.length > 0 ? '\n' : ''}
Try in another terminal, in this directory:

${notes.length > 0 ? `export SIDEGATE_ADDRESS=${socket}\n` : ''}# ${first ? described(first) : ''}
export TOKEN=${first?.token ?? ''}
npx sidegate watch &
echo $TOKEN | npx sidegate validate
echo $TOKEN | npx sidegate revoke
echo $TOKEN | npx sidegate validate

${others.map((one) => `# ${described(one)}\nexport TOKEN=${one.token}\n`).join('\n')}
`;
}
