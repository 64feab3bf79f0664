// The Dockerfile: what it promises, and its commands run in clean folders as another user, since no image can be built everywhere.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Ground, ignoredBy, type Played, parseDockerfile, playStage, run } from './dockerfile.ts';

const context = join(import.meta.dirname, '..', '..');
const dockerfile = readFileSync(join(context, 'Dockerfile'), 'utf8');
const dockerignore = readFileSync(join(context, '.dockerignore'), 'utf8');
const stages = parseDockerfile(dockerfile);
const image = stages.at(-1);
const wordsOf = (word: string) => image?.instructions.filter((each) => each.word === word).map(({ words }) => words) ?? [];

describe('what the Dockerfile promises', () => {
  test('both stages stand on Node 24, slim', () => {
    expect(stages.map(({ base, name }) => [base, name])).toEqual([
      ['node:24-slim', 'build'],
      ['node:24-slim', undefined],
    ]);
  });

  test('the image runs as a user by number, which is not root', () => {
    expect(wordsOf('USER')).toEqual([['10001:10001']]);
  });

  test('nothing is installed or run in the image after the user is set, and nothing as root before', () => {
    expect(wordsOf('RUN')).toEqual([]);
  });

  test('what is written is exactly the two volumes, and they belong to that user', () => {
    expect(wordsOf('VOLUME')).toEqual([['/run/sidegate', '/var/lib/sidegate']]);
    const given = image?.instructions.filter(({ flags }) => flags['chown'] === '10001:10001').map(({ words }) => words.at(-1));
    expect(given).toEqual(['/run/sidegate', '/var/lib/sidegate']);
  });

  test('it starts sidegate without a shell, stops it by SIGTERM and asks it for its health', () => {
    expect(wordsOf('ENTRYPOINT')).toEqual([['node', 'dist/cli.js']]);
    expect(wordsOf('CMD')).toEqual([['serve', '--config', '/etc/sidegate/sidegate.yaml']]);
    expect(wordsOf('STOPSIGNAL')).toEqual([['SIGTERM']]);
    const [health] = image?.instructions.filter(({ word }) => word === 'HEALTHCHECK') ?? [];
    expect(health?.text).toBe('CMD ["node", "dist/cli.js", "status", "--quiet"]');
  });

  test('no scripts of packages are run, and no secret is an argument or variable', () => {
    const commands = stages.flatMap(({ instructions }) => instructions.filter(({ word }) => word === 'RUN').map(({ text }) => text));
    const npm = commands.flatMap((text) => text.split('&&')).filter((text) => /\bnpm\b/.test(text));
    expect(npm.length).toBe(2);
    expect(npm.filter((text) => !text.includes('--ignore-scripts'))).toEqual([]);
    expect(stages.flatMap(({ instructions }) => instructions.filter(({ word }) => word === 'ARG'))).toEqual([]);
    expect(wordsOf('ENV')).toEqual([['NODE_ENV=production']]);
  });

  test('the context holds what is built from and nothing else', () => {
    const entries = readdirSync(context).filter((name) => !ignoredBy(dockerignore, name));
    expect(entries.sort()).toEqual(
      ['.npmrc', 'LICENSE', 'package-lock.json', 'package.json', 'proto', 'scripts', 'src', 'tsconfig.json'].sort(),
    );
    expect(['.env', '.git/config', 'test/vectors/keys.json', 'secret.pem'].filter((path) => !ignoredBy(dockerignore, path))).toEqual([]);
  });
});

/** nobody, where we are root and nobody can run this Node; else whoever we are. */
const nobody = { uid: 65534, gid: 65534 };
const canBeNobody = process.getuid?.() === 0 && spawnSync(process.execPath, ['--version'], { ...nobody, cwd: '/' }).status === 0;

describe(`the Dockerfile's commands, run as ${canBeNobody ? 'nobody' : 'the present user'}`, () => {
  let folder: string;
  let ground: Ground;
  let played: Played;
  const app = () => join(played.root, played.workdir);
  const inImage = (path: string) => join(played.root, path);
  // `node` of the image is the Node that runs this test.
  const entry = [process.execPath, 'dist/cli.js'];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sidegate-image-'));
    chmodSync(folder, 0o755);
    const home = join(folder, 'home');
    mkdirSync(home);
    if (canBeNobody) execFileSync('chown', ['65534:65534', home]);
    const registry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim();
    // npm's own variables lead to the present user's files: only where the registry lies is kept, and what the network needs.
    const kept = Object.entries(process.env).filter(
      ([name]) => !/^(npm_|NODE_ENV$|VITEST|SIDEGATE_(?!TEST_RUN)|HOME$|INIT_CWD$)/i.test(name),
    );
    const env = { ...Object.fromEntries(kept), HOME: home, npm_config_registry: registry, npm_config_cache: join(home, 'cache') };
    const path = `${dirname(process.execPath)}:${process.env['PATH']}`;
    ground = { context, folder, user: canBeNobody ? nobody : undefined, env: { ...(env as Record<string, string>), PATH: path } };
    const done = new Map<string, Played>();
    for (const stage of stages) {
      played = await playStage(ground, stage, done);
      done.set(stage.name ?? 'image', played);
    }
    // The image's root is read-only; whoever owns the files would not notice, so for them the bits say it.
    if (!canBeNobody) execFileSync('chmod', ['-R', 'a-w', app()]);
  }, 600_000);

  afterAll(() => {
    if (!canBeNobody) execFileSync('chmod', ['-R', 'u+w', folder]);
    rmSync(folder, { recursive: true, force: true });
  });

  test('the image holds what runs, without the tools that built it', () => {
    expect(readdirSync(app()).sort()).toEqual(['LICENSE', 'dist', 'node_modules', 'package.json', 'proto']);
    const packages = readdirSync(inImage('/app/node_modules'));
    expect(packages).toEqual(expect.arrayContaining(['classic-level', 'jose', 'undici']));
    expect(packages.filter((name) => ['typescript', 'vitest', 'knip', 'ts-proto'].includes(name))).toEqual([]);
  });

  test('its user cannot write into the program, and can into the two volumes', async () => {
    const write = (path: string) => run(ground, ['/bin/sh', '-c', `: > ${path}`], app());
    expect((await write(join(app(), 'dist', 'planted.js'))).code).not.toBe(0);
    expect((await write(join(app(), 'planted.js'))).code).not.toBe(0);
    expect((await write(inImage('/run/sidegate/x'))).code).toBe(0);
    expect((await write(inImage('/var/lib/sidegate/x'))).code).toBe(0);
    rmSync(inImage('/run/sidegate/x'));
    rmSync(inImage('/var/lib/sidegate/x'));
  });

  test('sidegate starts there and says its version', async () => {
    const { version } = JSON.parse(readFileSync(join(context, 'package.json'), 'utf8')) as { readonly version: string };
    const { code, output } = await run(ground, [...entry, '--version'], app());
    expect({ code, output: output.trim() }).toEqual({ code: 0, output: expect.stringContaining(version) });
  });

  test('it serves from the read-only tree, is healthy, and stops by SIGTERM', async () => {
    const config = inImage('/etc/sidegate/sidegate.yaml');
    mkdirSync(dirname(config), { recursive: true });
    const socket = inImage('/run/sidegate/sidegate.sock');
    const jwk = { kty: 'EC', crv: 'P-256', kid: 'k', alg: 'ES256', ...point };
    writeFileSync(join(dirname(config), 'keys.json'), JSON.stringify({ keys: [jwk] }));
    writeFileSync(
      config,
      [
        `listen: { socket: { path: ${socket} }, tcp: null, operations: null }`,
        `journal: { dir: ${inImage('/var/lib/sidegate')} }`,
        'issuers:',
        '  - { name: corp, kind: jwt, issuer: "https://login.example.com", keys: { file: keys.json }, algorithms: [ES256], audiences: [api], max_token_life: 1h }',
      ].join('\n'),
    );
    const command = wordsOf('CMD')[0]?.map((word) => (word.startsWith('/') ? inImage(word) : word)) ?? [];
    const [program = '', ...args] = [...entry, ...command];
    const child = spawn(program, args, { cwd: app(), env: ground.env, ...ground.user, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
    }
    const ended = new Promise<number | null>((done) => child.on('close', done));
    const probe = { ...ground, env: { ...ground.env, SIDEGATE_ADDRESS: `unix://${socket}` } };
    try {
      await expect
        .poll(async () => (await run(probe, [...entry, 'status', '--quiet'], app())).code, { timeout: 30_000, interval: 200 })
        .toBe(0);
    } catch (error) {
      child.kill('SIGKILL');
      throw new Error(`it did not become healthy; it said:\n${said}`, { cause: error });
    }
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });
});

/** A point on P-256: the public part of a throwaway key. */
const point = { x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU', y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0' };
