// `npm test`: prepares what the chosen suites need, runs vitest with the arguments given, and ends with `N passed, N failed, N skipped`.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { installPackages, missingPackages, packagesOf, whyNoPackages } from './packages.mjs';
import { build, installNodePackages, root, say, whenNpmEnds } from './prepare.mjs';

const args = process.argv.slice(2);
/** What could not even be prepared: each is a failure of the run, whatever the tests say. */
const notPrepared = [];
const env = { ...process.env };

const failedInstall = installNodePackages();
if (failedInstall !== undefined) {
  say(`sidegate: ${failedInstall}`);
  end({ passed: 0, failed: 1, skipped: 0 });
} else {
  const suites = await suitesOf(args);
  // The core is pure and read from its sources: nothing is built for it.
  if (suites.some((suite) => suite !== 'core')) note(build());
  for (const suite of Object.keys(packagesOf)) if (suites.includes(suite)) note(prepareSuite(suite));
  const counts = await runVitest();
  counts.failed += notPrepared.length;
  if (counts.passed + counts.failed === 0) {
    say('sidegate: no test was executed, which proves nothing: counted as a failure');
    counts.failed = 1;
  }
  end(counts);
}

function note(failed) {
  if (failed === undefined) return;
  say(`sidegate: ${failed}`);
  notPrepared.push(failed);
}

function end({ passed, failed, skipped }) {
  process.exitCode = failed === 0 ? 0 : 1;
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
}

/** The suites that these vitest arguments choose (a leading `!` means: not this one); none for another root, whose files are not ours. */
async function suitesOf(given) {
  const { parseCLI } = await import('vitest/node');
  const { filter, options } = parseCLI(['vitest', 'run', ...given], { allowUnknownOptions: true });
  if (options.root !== undefined && resolve(options.root) !== root) return [];
  const patterns = [options.project ?? []].flat();
  const positive = patterns.filter((pattern) => !pattern.startsWith('!'));
  const negative = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => pattern.slice(1));
  return ['core', 'unit', 'foreign', 'e2e'].filter((suite) => {
    const wanted =
      (positive.length === 0 || positive.some((pattern) => matches(pattern, suite))) &&
      !negative.some((pattern) => matches(pattern, suite));
    // A filter is a part of a path, as in vitest.
    return (
      wanted && (filter.length === 0 || suite === 'unit' || testFiles(suite).some((path) => filter.some((part) => path.includes(part))))
    );
  });
}

/** As vitest reads its project patterns: `*` stands for anything. */
function matches(pattern, name) {
  const source = pattern
    .split('*')
    .map((part) => part.replace(/[^\w-]/g, '\\$&'))
    .join('.*');
  return new RegExp(`^${source}$`).test(name);
}

function testFiles(suite) {
  const folder = join(root, 'test', suite);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true }).map((path) => join(folder, String(path)));
}

/** Says what it will install before it does; where it may not, the suite is told to skip, with the reason. Returns what failed. */
function prepareSuite(suite) {
  const variable = `SIDEGATE_SKIP_${suite.toUpperCase()}`;
  const missing = existsSync('/usr/bin/dpkg-query') ? missingPackages(packagesOf[suite]) : packagesOf[suite];
  const why = missing.length === 0 ? undefined : whyNoPackages();
  if (why !== undefined) env[variable] ??= `${why} (missing: ${missing.join(' ')})`;
  // Also when whoever called us has set it: a skip is never silent.
  // The unit suite needs them in a few files only.
  if (env[variable])
    say(`sidegate: ${suite === 'unit' ? 'parts of the unit suite are' : `the ${suite} suite is`} skipped: ${env[variable]}`);
  if (env[variable] || missing.length === 0) return undefined;
  say(`sidegate: the ${suite} suite needs these Debian packages, installed now with apt-get (no service is started): ${missing.join(' ')}`);
  const failed = installPackages(missing, (line) => say(`sidegate: ${line}`));
  if (failed !== undefined) env[variable] = failed;
  return failed;
}

async function runVitest() {
  const scratch = mkdtempSync(join(tmpdir(), 'sidegate-test-'));
  const counts = join(scratch, 'counts.json');
  // Inherited by everything the tests start, however detached: what still runs afterwards is found by it.
  const mark = `SIDEGATE_TEST_RUN=${scratch}`;
  const reporters = args.some((arg) => arg.startsWith('--reporter')) ? [] : ['--reporter=default'];
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const child = spawn(
    process.execPath,
    [vitest, 'run', ...args, ...reporters, `--reporter=${join(root, 'scripts', 'count-reporter.mjs')}`],
    {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...env, SIDEGATE_COUNTS: counts, SIDEGATE_TEST_RUN: scratch },
    },
  );
  const atTerminal = process.stdout.isTTY || process.stderr.isTTY;
  // At a terminal Ctrl-C has reached vitest already; a second one would cut off its cleaning up.
  process.on('SIGINT', () => atTerminal || child.kill('SIGINT'));
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  whenNpmEnds(() => child.kill('SIGTERM'));
  const code = await new Promise((done) => {
    child.on('error', () => done(1));
    child.on('close', (status) => done(status ?? 1));
  });
  endLeftOvers(mark);
  // Without the file vitest did not come to its end: it crashed, was killed, or refused its arguments.
  const result = existsSync(counts) ? JSON.parse(readFileSync(counts, 'utf8')) : { passed: 0, failed: 1, skipped: 0 };
  if (code !== 0 && result.failed === 0 && result.passed > 0) result.failed = 1;
  rmSync(scratch, { recursive: true, force: true });
  return result;
}

/** Ends, by pid, every process that carries the mark of this run; only where /proc tells. */
function endLeftOvers(mark) {
  if (!existsSync('/proc/self/environ')) return;
  for (const pid of readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)) {
    if (pid === process.pid || !carries(pid, mark)) continue;
    say(`sidegate: a test left process ${pid} running (${commandOf(pid)}): ended`);
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      // It ended by itself between the two looks.
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

function carries(pid, mark) {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark);
  } catch (error) {
    // Ended meanwhile, or another user's: not ours.
    if (['ENOENT', 'EACCES', 'ESRCH', 'EPERM'].includes(error.code)) return false;
    throw error;
  }
}

function commandOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim().slice(0, 100);
  } catch (error) {
    return `ended meanwhile, ${error.code}`;
  }
}
