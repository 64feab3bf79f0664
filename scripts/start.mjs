// `npm start`: from a fresh clone to a running `sidegate dev`, with nothing but Node and npm.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import { build, installNodePackages, orStop, root, say, whenNpmEnds } from './prepare.mjs';

orStop(installNodePackages());
orStop(build());

const sidegate = spawn(process.execPath, [join(root, 'dist', 'cli.js'), 'dev', ...process.argv.slice(2)], { stdio: 'inherit' });

// A terminal sends Ctrl-C to us and to sidegate alike: passed on again it would be a second one, which means "stop at once".
const atTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
process.on('SIGINT', () => {
  if (!atTerminal) sidegate.kill('SIGINT');
});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => sidegate.kill(signal));
whenNpmEnds(() => sidegate.kill('SIGTERM'));

sidegate.on('error', (error) => {
  say(`sidegate: could not start: ${error.message}`);
  process.exitCode = 1;
});
sidegate.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + constants.signals[signal];
});
