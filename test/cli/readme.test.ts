// The README does what it says: its shell lines and its Node example are taken out of it and run, and its links lead somewhere.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { builtPackage, type DevProgram, endAll, start, startDevProgram } from './program.ts';

const project = join(import.meta.dirname, '..', '..');
const readme = readFileSync(join(project, 'README.md'), 'utf8');
const blocks = (language: string) =>
  [...readme.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, 'gm'))].map(([, code]) => code ?? '');

let dev: DevProgram;
/** A directory in which `npx sidegate` and `import … from 'sidegate/client'` find this package, as in a checkout. */
const folder = mkdtempSync(join(tmpdir(), 'sidegate-readme-'));

beforeAll(async () => {
  mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true });
  symlinkSync(builtPackage(), join(folder, 'node_modules', 'sidegate'));
  writeFileSync(
    join(folder, 'node_modules', '.bin', 'sidegate'),
    `#!/bin/sh\nexec node '${join(builtPackage(), 'dist', 'cli.js')}' "$@"\n`,
    {
      mode: 0o755,
    },
  );
  writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}');
  dev = await startDevProgram();
});

afterAll(async () => {
  dev.child.kill('SIGTERM');
  await dev.ended;
  await endAll();
  rmSync(folder, { recursive: true });
});

/** Runs `script` in a shell, in that directory, with one of the tokens. */
async function shell(script: string, who: string) {
  const env = {
    SIDEGATE_ADDRESS: dev.socket,
    TOKEN: dev.tokens.get(who) ?? '',
    npm_config_update_notifier: 'false',
    npm_config_offline: 'true',
  };
  return start([], { env, printsTokens: true, isShell: true }, ['sh', '-c', `cd '${folder}'\n${script}`]).ended;
}

test('the first command is that of the package, and it runs `sidegate dev`', () => {
  const [first] = blocks('sh');
  expect(first?.trim()).toMatch(/^npm start +#/);
  const { scripts } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as { scripts: { start: string } };
  expect(scripts.start).toBe('node scripts/start.mjs');
  expect(readFileSync(join(project, 'scripts', 'start.mjs'), 'utf8')).toContain(`join(root, 'dist', 'cli.js'), 'dev'`);
});

test('the lines after it do what is written beside them', async () => {
  const [, lines = ''] = blocks('sh');
  expect(lines.trim().split('\n')).toHaveLength(4);
  // What people do by waiting a moment: the watch is there before the token is revoked, and the shell ends when it has spoken.
  const [watch = '', ...others] = lines.trim().split('\n');
  const scripted = [
    watch.replace('&', '> watched 2> state &'),
    'until grep -q "caught up" state; do sleep 0.1; done',
    ...others,
    'until grep -q REVOKE watched; do sleep 0.1; done',
  ];
  expect(scripted[0]).toContain('watched');
  const { stdout } = await shell(scripted.join('\n'), 'alice');
  expect(stdout).toMatch(/^active +alice .*\n.*verified here.*\nREVOKE +applied .*\ninactive REVOKED\n/);
  expect(readFileSync(join(folder, 'watched'), 'utf8')).toMatch(/^\d\d:\d\d:\d\d\.\d{3} .* REVOKE /);
});

test('the lines about the configuration work', async () => {
  const [, , lines = ''] = blocks('sh');
  expect(lines.trim().split('\n')).toHaveLength(3);
  const { code, stdout } = await shell(`set -e\n${lines}`, 'bob');
  expect(code).toBe(0);
  expect(stdout).toContain('# default');
  expect(stdout).toContain('json-schema.org');
  expect(stdout).toContain('SERVING');
});

test('the Node example prints what its comments say', async () => {
  const [example = ''] = blocks('js');
  const expected = [...example.matchAll(/console\.log\(.*\/\/ (\d+)$/gm)].map(([, status]) => status);
  writeFileSync(join(folder, 'example.js'), example);
  const { code, stdout, stderr } = await shell('node example.js', 'robot');
  expect(expected).toEqual(['200', '403', '401']);
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: `${expected.join('\n')}\n`, stderr: '' });
});

test('every link leads to a file of the project', () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map(([, path]) => path ?? '').filter((path) => !path.startsWith('http'));
  expect(links.length).toBeGreaterThanOrEqual(8);
  expect(links.filter((path) => !existsSync(join(project, path)))).toEqual([]);
});
