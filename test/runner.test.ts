// The closing line and the exit code of `npm test`, on small projects made for it.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';

const project = process.cwd();
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** Runs `npm test`'s script over `files`, a project of its own; answers its last line on stdout, exit code and both outputs. */
async function runOver(files: Readonly<Record<string, string>>, ...args: readonly string[]) {
  const root = mkdtempSync(join(tmpdir(), 'sidegate-runner-'));
  folders.push(root);
  symlinkSync(join(project, 'node_modules'), join(root, 'node_modules'));
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  mkdirSync(join(root, 'test'));
  for (const [name, source] of Object.entries(files)) writeFileSync(join(root, 'test', name), source);
  // The inner vitest must not take itself for a worker of the outer one.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST')));
  const child = spawn(process.execPath, [join(project, 'scripts', 'test.mjs'), '--root', root, ...args], { cwd: project, env });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  const code = await new Promise<number | null>((done) => child.on('close', done));
  return { code, last: stdout.trimEnd().split('\n').at(-1), stdout, stderr };
}

const passing = `import { expect, test } from 'vitest'; test('a', () => expect(1).toBe(1)); test('b', () => expect(2).toBe(2));`;

test('passing tests alone end the run with exit code 0', async () => {
  const { code, last } = await runOver({ 'good.test.js': passing });
  expect({ code, last }).toEqual({ code: 0, last: '2 passed, 0 failed, 0 skipped' });
});

test('a failing test is counted, and the exit code says so', async () => {
  const bad = `import { expect, test } from 'vitest'; test('c', () => expect(1).toBe(2));`;
  const { code, last } = await runOver({ 'good.test.js': passing, 'bad.test.js': bad });
  expect({ code, last }).toEqual({ code: 1, last: '2 passed, 1 failed, 0 skipped' });
});

test('a file that cannot be imported is a failure, not a file with no tests', async () => {
  const { code, last } = await runOver({ 'good.test.js': passing, 'lost.test.js': `import './nowhere.js';` });
  expect({ code, last }).toEqual({ code: 1, last: '2 passed, 1 failed, 0 skipped' });
});

test('a file without a single test is a failure', async () => {
  const { code, last } = await runOver({ 'good.test.js': passing, 'empty.test.js': 'export {};' });
  expect({ code, last }).toEqual({ code: 1, last: '2 passed, 1 failed, 0 skipped' });
});

test('skipped and todo tests are counted as skipped, also those of a skipped suite', async () => {
  const skipping = `import { describe, test } from 'vitest'; test.skip('d', () => {}); test.todo('e');
    describe.skip('f', () => { test('g', () => {}); });`;
  const { code, last } = await runOver({ 'good.test.js': passing, 'skip.test.js': skipping });
  expect({ code, last }).toEqual({ code: 0, last: '2 passed, 0 failed, 3 skipped' });
});

test('a suite whose hook fails is a failure', async () => {
  const hook = `import { beforeAll, describe, test } from 'vitest'; describe('h', () => { beforeAll(() => { throw new Error('no'); }); test('i', () => {}); });`;
  const { code, last } = await runOver({ 'good.test.js': passing, 'hook.test.js': hook });
  expect(code).toBe(1);
  expect(last).toMatch(/^2 passed, 1 failed, \d skipped$/);
});

test('an error that nobody caught is a failure', async () => {
  const loose = `import { test } from 'vitest'; test('j', async () => { Promise.reject(new Error('loose')); await new Promise((r) => setImmediate(r)); });`;
  const { code, last } = await runOver({ 'loose.test.js': loose });
  expect({ code, last }).toEqual({ code: 1, last: '1 passed, 1 failed, 0 skipped' });
});

test('a run that executes nothing is a failure', async () => {
  const skipping = `import { test } from 'vitest'; test.skip('k', () => {});`;
  const { code, last, stderr } = await runOver({ 'skip.test.js': skipping });
  expect({ code, last }).toEqual({ code: 1, last: '0 passed, 1 failed, 1 skipped' });
  expect(stderr).toContain('no test was executed');
});

test('a filter that finds no file is a failure', async () => {
  const { code, last } = await runOver({ 'good.test.js': passing }, 'nothing-is-called-so');
  expect({ code, last }).toEqual({ code: 1, last: '0 passed, 1 failed, 0 skipped' });
});

test('a vitest that dies before its end is a failure', async () => {
  const config = `process.exit(0);`;
  const { code, last } = await runOver({ 'good.test.js': passing, 'dying.config.js': config }, '--config', 'test/dying.config.js');
  expect({ code, last }).toEqual({ code: 1, last: '0 passed, 1 failed, 0 skipped' });
});

test('what a test leaves running, even in a session of its own, is ended and named', async () => {
  const leaving = `import { spawn } from 'node:child_process'; import { test } from 'vitest';
    test('l', () => { const p = spawn('sleep', ['271'], { detached: true, stdio: 'ignore' }); p.unref(); console.log('LEFT ' + p.pid); });`;
  const { stdout, stderr } = await runOver({ 'leaving.test.js': leaving });
  const pid = Number(/LEFT (\d+)/.exec(stdout)?.[1]);
  expect(stderr).toContain(`a test left process ${pid} running (sleep 271): ended`);
});
