// Reads a Dockerfile and plays its stages in plain folders, for machines where no image can be built.
import { spawn } from 'node:child_process';
import { chownSync, cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** One instruction: its word in capitals, the flags (`--from=build`), and the rest as words (JSON form or split at blanks) and as text. */
export interface Instruction {
  readonly word: string;
  readonly flags: Readonly<Record<string, string>>;
  readonly words: readonly string[];
  readonly text: string;
}

/** One `FROM` with what follows it. */
export interface Stage {
  readonly base: string;
  readonly name: string | undefined;
  readonly instructions: readonly Instruction[];
}

/** The stages of a Dockerfile, in order. Knows continuation lines, comments, flags and the JSON form; no heredocs, no ARG. */
export function parseDockerfile(source: string): readonly Stage[] {
  const lines = source
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const stages: { base: string; name: string | undefined; instructions: Instruction[] }[] = [];
  for (const line of lines) {
    const instruction = parseInstruction(line);
    if (instruction.word === 'FROM') {
      const [base = '', , name] = instruction.words;
      stages.push({ base, name, instructions: [] });
    } else stages.at(-1)?.instructions.push(instruction);
  }
  return stages;
}

function parseInstruction(line: string): Instruction {
  const [, word = '', rest = ''] = /^(\w+)\s+(.*)$/.exec(line) ?? [];
  const [, flagText = '', text = ''] = /^((?:--\S+\s+)*)(.*)$/.exec(rest) ?? [];
  const flags = Object.fromEntries([...flagText.matchAll(/--([\w-]+)=(\S+)/g)].map(([, name, value]) => [name ?? '', value ?? '']));
  const words = text.startsWith('[') ? (JSON.parse(text) as readonly string[]) : text.split(/\s+/);
  return { word: word.toUpperCase(), flags, words, text };
}

/** Whether .dockerignore leaves `path` (relative to the context) out: the last pattern that fits it or a folder above it decides. */
export function ignoredBy(dockerignore: string, path: string): boolean {
  const above = path.split('/').map((_, index, parts) => parts.slice(0, index + 1).join('/'));
  let ignored = false;
  for (const line of dockerignore.split('\n').map((each) => each.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const negated = line.startsWith('!');
    const pattern = (negated ? line.slice(1) : line).replace(/^\/|\/$/g, '');
    const source = pattern
      .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('**', '\0')
      .replaceAll('*', '[^/]*')
      .replaceAll('\0', '.*');
    if (above.some((each) => new RegExp(`^${source}$`).test(each))) ignored = !negated;
  }
  return ignored;
}

/** Where and as whom the stages are played. */
export interface Ground {
  /** The build context: the project's folder. */
  readonly context: string;
  /** One folder below it stands for the root of each stage. */
  readonly folder: string;
  /** The user of RUN and of what --chown gives away; undefined: the one who runs this. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** A played stage: its root folder on this machine and the working directory in it. */
export interface Played {
  readonly root: string;
  readonly workdir: string;
}

/** Plays a stage: WORKDIR, COPY and RUN are done, the rest only describes. Throws what a RUN said when it fails. */
export async function playStage(ground: Ground, stage: Stage, earlier: ReadonlyMap<string, Played>): Promise<Played> {
  const root = join(ground.folder, stage.name ?? 'image');
  let workdir = '/';
  mkdirSync(root, { recursive: true });
  for (const { word, flags, words, text } of stage.instructions) {
    if (word === 'WORKDIR') workdir = text;
    mkdirSync(join(root, workdir), { recursive: true });
    if (word === 'COPY') copy(ground, { flags, words, root, workdir }, earlier);
    if (word === 'RUN') {
      // RUN writes anywhere in its stage; one that only copies belongs to whoever plays it, as it would to root.
      if (ground.user !== undefined) chownAll(root, ground.user);
      const { code, output } = await run(ground, ['/bin/sh', '-ec', text], join(root, workdir));
      if (code !== 0) throw new Error(`RUN ${text} ended with ${code}:\n${output}`);
    }
  }
  return { root, workdir };
}

interface Copy {
  readonly flags: Readonly<Record<string, string>>;
  readonly words: readonly string[];
  readonly root: string;
  readonly workdir: string;
}

function copy(ground: Ground, { flags, words, root, workdir }: Copy, earlier: ReadonlyMap<string, Played>): void {
  const from = flags['from'] === undefined ? undefined : earlier.get(flags['from']);
  if (flags['from'] !== undefined && from === undefined) throw new Error(`COPY --from=${flags['from']}: no such stage before`);
  const dockerignore = readFileSync(join(ground.context, '.dockerignore'), 'utf8');
  const target = words.at(-1) ?? '';
  const to = target.startsWith('/') ? join(root, target) : join(root, workdir, target);
  for (const source of words.slice(0, -1)) {
    const path = join(from?.root ?? ground.context, source);
    if (!existsSync(path)) throw new Error(`COPY ${source}: there is no such file`);
    const wanted = (file: string) => from !== undefined || file === path || !ignoredBy(dockerignore, file.slice(ground.context.length + 1));
    if (from === undefined && ignoredBy(dockerignore, source)) throw new Error(`COPY ${source}: .dockerignore leaves it out`);
    // A folder is copied by its content; a file into a folder by its name.
    const intoFolder = !lstatSync(path).isDirectory() && (words.length > 2 || target.endsWith('/'));
    const destination = intoFolder ? join(to, basename(source)) : to;
    mkdirSync(dirname(destination), { recursive: true });
    cpSync(path, destination, { recursive: true, filter: wanted, verbatimSymlinks: true });
  }
  if (flags['chown'] !== undefined && ground.user !== undefined) chownAll(to, ground.user);
}

/** Runs a command as the ground's user, in `cwd`; answers its exit code and everything it said. */
export function run(
  ground: Ground,
  command: readonly string[],
  cwd: string,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const [program = '', ...args] = command;
  return new Promise((done, failed) => {
    const child = spawn(program, args, { cwd, env: ground.env, ...ground.user, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const take = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', failed);
    child.on('close', (code) => done({ code, output }));
  });
}

function chownAll(path: string, { uid, gid }: { readonly uid: number; readonly gid: number }): void {
  const entries = lstatSync(path).isDirectory() ? readdirSync(path, { recursive: true, withFileTypes: true }) : [];
  chownSync(path, uid, gid);
  for (const entry of entries) if (!entry.isSymbolicLink()) chownSync(join(entry.parentPath, entry.name), uid, gid);
}
