// The table of who may import whom, held against every file of src; the checker itself is held against planted violations.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path/posix';
import { expect, test } from 'vitest';

/** What a room may import beyond itself. `node:*` allows every module of node; a package name includes its subpaths. */
interface Permission {
  readonly rooms: readonly string[];
  readonly packages: readonly string[];
}

/** A room is a folder of src or the file of that name: src/cli.ts and src/cli/… are the room `cli`. Arrows only go down. */
const table: Readonly<Record<string, Permission>> = {
  cli: { rooms: ['dev', 'client', 'sidecar', 'config', 'telemetry', 'package'], packages: ['commander', 'node:*'] },
  dev: { rooms: ['client', 'sidecar', 'config', 'ports', 'core'], packages: ['jose', 'node:*'] },
  sidecar: {
    rooms: [
      'adapters',
      'background',
      'config',
      'core',
      'deployment-keys',
      'flows',
      'listeners',
      'measures',
      'opened',
      'package',
      'ports',
      'rpc',
      'service',
      'telemetry',
    ],
    packages: ['node:*'],
  },
  // What a sidecar is made of, in the order of its start.
  opened: { rooms: ['ports', 'core'], packages: [] },
  background: { rooms: ['ports'], packages: ['node:events'] },
  listeners: { rooms: ['rpc', 'config', 'opened', 'ports'], packages: [] },
  measures: { rooms: ['flows', 'service', 'ports'], packages: [] },
  flows: { rooms: ['service', 'wire', 'config', 'ports', 'core'], packages: [] },
  // The values that a running sidecar's parts are made of, read from disk once.
  package: { rooms: [], packages: ['node:*'] },
  'deployment-keys': { rooms: ['core'], packages: ['node:*'] },
  adapters: {
    rooms: ['service', 'formats', 'news', 'upstreams', 'shared-cache', 'journal', 'fleet', 'config', 'ports', 'core'],
    packages: ['node:*'],
  },
  rpc: {
    rooms: ['wire', 'gen', 'service', 'ports', 'core'],
    packages: ['@grpc/grpc-js', '@grpc/proto-loader', '@grpc/reflection', 'grpc-health-check', 'node:*'],
  },
  client: { rooms: ['wire', 'gen', 'core'], packages: ['@grpc/grpc-js', 'lru-cache', 'node:*'] },
  wire: { rooms: ['gen', 'core'], packages: ['@bufbuild/protobuf', 'node:*'] },
  gen: { rooms: [], packages: ['@grpc/grpc-js', '@bufbuild/protobuf'] },
  telemetry: { rooms: ['config', 'ports', 'core'], packages: ['pino', 'prom-client', 'node:*'] },
  config: { rooms: ['ports', 'core'], packages: ['yaml', 'zod', 'node:*'] },
  service: { rooms: ['ports', 'core'], packages: ['lru-cache', 'node:crypto'] },
  formats: {
    rooms: ['keystone', 'ports', 'core'],
    packages: ['@msgpack/msgpack', 'asn1js', 'jose', 'pkijs', 'undici', 'zod', 'node:*'],
  },
  news: { rooms: ['amqp', 'ports', 'core'], packages: ['zod', 'node:*'] },
  fleet: {
    rooms: ['amqp', 'gen', 'ports', 'core'],
    packages: ['@grpc/grpc-js', 'amqplib', '@nats-io/jetstream', '@nats-io/transport-node', 'classic-level', 'node:*'],
  },
  // Connections to RabbitMQ, for whoever has something to read there, or to write.
  amqp: { rooms: ['ports', 'core'], packages: ['amqplib', 'node:*'] },
  upstreams: { rooms: ['keystone', 'ports', 'core'], packages: ['undici', 'zod', 'node:*'] },
  'shared-cache': { rooms: ['ports', 'core'], packages: ['memjs', 'node:*'] },
  journal: { rooms: ['ports', 'core'], packages: ['classic-level', 'node:*'] },
  // What Keystone writes, read: for whoever gets it, from its API or out of a token.
  keystone: { rooms: ['ports', 'core'], packages: ['zod'] },
  ports: { rooms: ['core'], packages: [] },
  core: { rooms: [], packages: ['node:crypto'] },
};

/** The core decides from values alone: no clock, no timer, no waiting, no surroundings. */
const forbiddenInCore =
  /\b(?:Date\.now|new Date\(\)|setTimeout|setInterval|setImmediate|queueMicrotask|await|async|performance|process|fetch|Math\.random)\b/g;

const comment = /\/\*[\s\S]*?\*\/|\/\/[^\n]*/.source;
const quoted = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/.source;
const withoutComments = (source: string) =>
  source.replace(new RegExp(`${comment}|(${quoted})`, 'g'), (_, text: string | undefined) => text ?? ' ');
const withoutTexts = (source: string) => source.replace(new RegExp(`${comment}|${quoted}`, 'g'), ' ');

/** Everything that `source` imports: static, for types, for effects, re-exported, dynamic; a computed name comes as `(computed)`. */
function importsOf(source: string): readonly string[] {
  const code = withoutComments(source);
  const forms = [
    /\b(?:import|export)\b[^'"`;]*?\bfrom\s*(['"])([^'"]+)\1/g,
    /\bimport\s*(['"])([^'"]+)\1/g,
    /(?<![#.])\b(?:import|require)\s*\(\s*(['"])([^'"]+)\1\s*\)/g,
  ];
  const named = forms.flatMap((form) => [...code.matchAll(form)].map(([, , name]) => name ?? ''));
  const computed = /(?<![#.])\b(?:import|require)\s*\((?!\s*['"])|\bcreateRequire\b/.test(code) ? ['(computed)'] : [];
  return [...named, ...computed];
}

/** The room of a path below src, such as `core/token.ts` or `cli.ts`. */
const roomOf = (path: string) => (path.split('/')[0] ?? '').replace(/\.ts$/, '');

/** One sentence for each violation in `files` (path below src → source). */
function violationsIn(files: ReadonlyMap<string, string>): readonly string[] {
  return [...files].flatMap(([path, source]) => {
    const room = roomOf(path);
    const permission = table[room];
    if (permission === undefined) return [`${path}: the room ${room} is not in the table`];
    const imports = importsOf(source).filter((name) => !isAllowed(path, room, permission, name));
    const words = room === 'core' ? (withoutTexts(source).match(forbiddenInCore) ?? []) : [];
    return [...imports.map((name) => `${path} imports ${name}`), ...words.map((word) => `${path} says ${word}`)];
  });
}

function isAllowed(path: string, room: string, permission: Permission, name: string): boolean {
  if (name.startsWith('.')) {
    const target = join(dirname(path), name);
    return !target.startsWith('..') && (roomOf(target) === room || permission.rooms.includes(roomOf(target)));
  }
  return permission.packages.some((allowed) =>
    allowed.endsWith(':*') ? name.startsWith(allowed.slice(0, -1)) : name === allowed || name.startsWith(`${allowed}/`),
  );
}

function sourcesOfProject(): ReadonlyMap<string, string> {
  const src = join(import.meta.dirname, '..', 'src');
  const paths = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
  return new Map(paths.map((path) => [path.replaceAll('\\', '/'), readFileSync(join(src, path), 'utf8')]));
}

const sources = sourcesOfProject();

test('every import of src is in the table', () => {
  expect(violationsIn(sources)).toEqual([]);
});

test('the checker has seen every room and every import there is', () => {
  const filesIn = (room: string) => [...sources.keys()].filter((path) => roomOf(path) === room).length;
  const rooms = [
    'core',
    'wire',
    'service',
    'formats',
    'upstreams',
    'keystone',
    'journal',
    'rpc',
    'client',
    'dev',
    'gen',
    'config',
    'cli',
    'sidecar',
    'adapters',
  ];
  expect(rooms.filter((room) => filesIn(room) === 0)).toEqual([]);
  expect(sources.size).toBeGreaterThan(60);
  // Counted by another rule than the checker's: a line that ends in `from '…';` is an import.
  const lines = [...sources.values()].flatMap((source) => source.match(/^[^/*]*\bfrom ['"][^'"]+['"];$/gm) ?? []);
  const seen = [...sources.values()].flatMap(importsOf);
  expect(lines.length).toBeGreaterThan(150);
  expect(seen.length).toBeGreaterThanOrEqual(lines.length);
});

test('the gRPC library is known to rpc, client, the engine that calls a sidecar, and the generated code alone', () => {
  const knowing = [...sources]
    .filter(([, source]) => importsOf(source).some((name) => name.startsWith('@grpc/')))
    .map(([path]) => roomOf(path));
  expect(knowing.length).toBeGreaterThan(0);
  expect(new Set(knowing)).toEqual(new Set(['rpc', 'client', 'fleet', 'gen']));
});

test('no arrow of the table goes up or round', () => {
  const below = (room: string, seen: readonly string[] = []): readonly string[] =>
    seen.includes(room) ? [room] : (table[room]?.rooms ?? []).flatMap((next) => below(next, [...seen, room]));
  expect(Object.keys(table).flatMap((room) => below(room))).toEqual([]);
});

test.each([
  ['a room above', 'core/a.ts', `import { x } from '../service/x.ts';`, 'core/a.ts imports ../service/x.ts'],
  [
    'a type of a sibling',
    'formats/jwt.ts',
    `import type { X } from '../upstreams/http.ts';`,
    'formats/jwt.ts imports ../upstreams/http.ts',
  ],
  ['a re-export', 'service/a.ts', `export * from '../gen/x.ts';`, 'service/a.ts imports ../gen/x.ts'],
  ['several lines', 'service/a.ts', `import {\n  a,\n  type B,\n} from '../wire/x.ts';`, 'service/a.ts imports ../wire/x.ts'],
  ['an effect', 'ports.ts', `import './adapters.ts';`, 'ports.ts imports ./adapters.ts'],
  ['a dynamic import', 'wire/a.ts', `const x = await import('../client/x.ts');`, 'wire/a.ts imports ../client/x.ts'],
  ['a type position', 'wire/a.ts', `type X = import('../rpc/x.ts').X;`, 'wire/a.ts imports ../rpc/x.ts'],
  ['a computed name', 'rpc/a.ts', 'await import(name);', 'rpc/a.ts imports (computed)'],
  ['the server library', 'service/a.ts', `import { status } from '@grpc/grpc-js';`, 'service/a.ts imports @grpc/grpc-js'],
  ['another package', 'core/a.ts', `import { z } from "zod";`, 'core/a.ts imports zod'],
  ['a module of node', 'core/a.ts', `import { readFile } from 'node:fs/promises';`, 'core/a.ts imports node:fs/promises'],
  ['a file outside src', 'cli.ts', `import { x } from '../test/x.ts';`, 'cli.ts imports ../test/x.ts'],
  ['a clock in the core', 'core/a.ts', 'const now = Date.now();', 'core/a.ts says Date.now'],
  ['waiting in the core', 'core/a.ts', 'const f = async () => 1;', 'core/a.ts says async'],
  ['a room nobody knows', 'helpers/a.ts', '', 'helpers/a.ts: the room helpers is not in the table'],
])('a planted violation is found: %s', (_, path, source, found) => {
  expect(violationsIn(new Map([[path, source]]))).toEqual([found]);
});

test('what only looks like a violation is let through', () => {
  const source = `// import { x } from '../service/x.ts'; await\n/* setTimeout */ const text = "import x from 'zod' // await";\nimport { y } from './y.ts'; this.#require(y);`;
  expect(violationsIn(new Map([['core/a.ts', source.replace("import x from 'zod'", 'performance')]]))).toEqual([]);
});
