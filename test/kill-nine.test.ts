// A hundred kill -9 of a whole sidecar under a stream of Revokes: nothing that was acknowledged is lost, and a Watch that resumes misses none.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { revision } from '../src/core/invalidation.ts';
import {
  type Cursor,
  type GetStatusResponse,
  InactiveReason,
  RevokeRequest,
  type RevokeResponse,
  Selector,
  TokenServiceClient,
  type ValidateResponse,
} from '../src/gen/sidegate/v1/token_service.ts';
import { openLevelJournal } from '../src/journal/leveldb.ts';
import { createFakeClock } from './fakes/clock.ts';
import { validateRequestOf } from './fakes/requests.ts';
import { createSigner, type Signer } from './fakes/signer.ts';
import { openWatcher, type Watcher } from './fakes/watcher.ts';
import { answered } from './rpc/watch-stage.ts';

const project = dirname(dirname(fileURLToPath(import.meta.url)));
// Inside the project, so that the child finds its packages.
const work = join(project, 'node_modules', '.cache', 'sidegate-test', `kill-nine-${process.pid}`);
const program = join(work, 'test', 'kill-nine-child.js');
const dir = mkdtempSync(join(tmpdir(), 'sidegate-kill-'));
const rounds = 100;
const revokersAtOnce = 8;
const children = new Set<ChildProcess>();

/** Compiles the child and what it runs: node 20 does not read TypeScript. */
beforeAll(async () => {
  mkdirSync(work, { recursive: true });
  writeFileSync(join(work, 'package.json'), '{"type":"module"}');
  const config = {
    extends: join(project, 'tsconfig.json'),
    compilerOptions: {
      rootDir: project,
      outDir: work,
      declaration: false,
      isolatedDeclarations: false,
      skipLibCheck: true,
      typeRoots: [join(project, 'node_modules/@types')],
    },
    files: [join(project, 'test/kill-nine-child.ts')],
    include: [],
  };
  writeFileSync(join(work, 'tsconfig.json'), JSON.stringify(config));
  await promisify(execFile)(process.execPath, [join(project, 'node_modules/typescript/bin/tsc'), '-p', join(work, 'tsconfig.json')]);
});
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  for (const one of [work, dir]) rmSync(one, { recursive: true, force: true });
});

/** A sidecar's process: loaded, and told when to start. */
interface Killable {
  /** Resolves when it has said this word. */
  said(word: string): Promise<void>;
  go(): void;
  kill(): Promise<void>;
  readonly lines: readonly string[];
}

function load(): Killable {
  const child = spawn(process.execPath, [program, dir], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.add(child);
  // Killed before it has read what we write.
  child.stdin.on('error', () => undefined);
  const lines: string[] = [];
  const waiting = new Map<string, () => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    waiting.get(line)?.();
  });
  const gone = new Promise<void>((resolve) => {
    child.on('close', () => {
      children.delete(child);
      resolve();
    });
  });
  return {
    lines,
    said: (word) =>
      new Promise((resolve, reject) => {
        if (lines.includes(word)) return resolve();
        waiting.set(word, resolve);
        void gone.then(() => reject(new Error(`the sidecar ended before it said ${word}: ${lines.join('; ')}`)));
      }),
    go: () => void child.stdin.write('go\n'),
    kill: async () => {
      child.kill('SIGKILL');
      await gone;
    },
  };
}

/** What the sidecars of all rounds have promised, and told. */
class Witness {
  readonly acknowledged = new Map<string, { readonly user: string; readonly revision: number }>();
  /** By revision: the entry's id. */
  readonly told = new Map<number, string>();
  readonly faults: string[] = [];
  onAcknowledged: () => void = () => undefined;
  cursor: Cursor | undefined;
  resumed = 0;

  /** Everything that one connection brought. */
  hear(watcher: Watcher): void {
    if (watcher.opened.length > 0) this.resumed += 1;
    for (const { message } of watcher.messages) {
      if (message?.$case === 'reset') this.faults.push(`reset ${message.value.reason}`);
      if (message?.$case === 'opened') this.cursor ??= message.value.latest;
      if (message?.$case === 'checkpoint') this.cursor = message.value.cursor;
      for (const one of message?.$case === 'batch' ? message.value.invalidations : []) {
        const at = Number(one.cursor?.revision);
        const before = this.told.get(at);
        if (before !== undefined && before !== one.entryId) this.faults.push(`revision ${at} was ${before} and is ${one.entryId}`);
        this.told.set(at, one.entryId);
        this.cursor = one.cursor;
      }
    }
  }

  acknowledge(user: string, answer: RevokeResponse): void {
    this.acknowledged.set(answer.entryId, { user, revision: Number(answer.asOf?.revision) });
    this.onAcknowledged();
  }
}

let users = 0;

/** Revokes without pause until the connection is lost; what is not answered may be there or not. */
async function revokeOn(client: TokenServiceClient, witness: Witness, tokenOf: (user: string) => Promise<string>): Promise<void> {
  for (;;) {
    const user = `u${users}`;
    users += 1;
    // One in four by possession, which is two entries: the answer's is the first of them.
    const target: RevokeRequest['target'] =
      users % 4 === 0
        ? { $case: 'token', value: await tokenOf(user) }
        : { $case: 'selector', value: Selector.fromPartial({ issuer: 'main', userId: user }) };
    try {
      witness.acknowledge(user, await answered((done) => client.revoke(RevokeRequest.fromPartial({ target }), done)));
    } catch (error) {
      expect(error).toMatchObject({ code: 14 });
      return;
    }
  }
}

async function tokenMaker(): Promise<{ readonly signer: Signer; readonly tokenOf: (user: string) => Promise<string> }> {
  const signer = await createSigner('ES256', 'k1');
  const issuedAt = Math.floor(Date.now() / 1000) - 60;
  const tokens = new Map<string, Promise<string>>();
  // Signed once: ES256 signs the same claims differently each time, and that would be another token.
  const tokenOf = (sub: string): Promise<string> => {
    const token = tokens.get(sub) ?? signer.sign({ iss: 'https://issuer.test', sub, iat: issuedAt, exp: issuedAt + 7200 });
    tokens.set(sub, token);
    return token;
  };
  return { signer, tokenOf };
}

const connected = (): TokenServiceClient => new TokenServiceClient(`unix://${join(dir, 'sidegate.sock')}`, credentials.createInsecure());

it('a hundred kill -9 lose no acknowledged Revoke, un-revoke no token, and hide nothing from a Watch that resumes', {
  timeout: 300_000,
}, async () => {
  const { signer, tokenOf } = await tokenMaker();
  writeFileSync(join(dir, 'keys.json'), JSON.stringify({ keys: [signer.jwk] }));
  const witness = new Witness();
  let next = load();
  for (let round = 0; round < rounds; round += 1) {
    const sidecar = next;
    await sidecar.said('ready');
    // While this one lives and dies, the one after it loads its code.
    next = load();
    sidecar.go();
    if (round % 10 === 9) {
      // One in ten dies while it opens what the one before has left.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
      await sidecar.kill();
      continue;
    }
    await sidecar.said('serving');
    const client = connected();
    const watcher = openWatcher(client, { after: witness.cursor });
    const acknowledged = new Promise<void>((resolve) => {
      witness.onAcknowledged = resolve;
    });
    const revoking = Array.from({ length: revokersAtOnce }, () => revokeOn(client, witness, tokenOf));
    if (round === 0) await watcher.until((it) => it.opened.length > 0);
    // One in ten dies before it has acknowledged anything, the others in the middle of it.
    if (round % 10 !== 4) await acknowledged;
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 80));
    await sidecar.kill();
    await Promise.all([...revoking, watcher.ended]);
    client.close();
    witness.hear(watcher);
    expect(sidecar.lines.filter((line) => line.startsWith('error') || line.startsWith('failed'))).toEqual([]);
  }

  await next.said('ready');
  next.go();
  await next.said('serving');
  const client = connected();
  const status = await answered<GetStatusResponse>((done) => client.getStatus({}, done));
  const watcher = openWatcher(client, { after: witness.cursor });
  await watcher.until((it) => it.checkpoints.some((one) => one.cursor?.revision === status.latest?.revision));
  witness.hear(watcher);
  watcher.cancel();

  const alive: string[] = [];
  const validate = async (user: string): Promise<ValidateResponse> => {
    const token = await tokenOf(user);
    return answered((done) => client.validate(validateRequestOf({ token }), done));
  };
  const acknowledged = [...witness.acknowledged];
  for (const [, { user }] of acknowledged.slice(-500)) {
    if ((await validate(user)).reason !== InactiveReason.REVOKED) alive.push(user);
  }
  expect(alive).toEqual([]);
  expect((await validate('nobody')).active).toBe(true);
  client.close();
  await next.kill();

  const journal = await openLevelJournal({ dir: join(dir, 'journal'), clock: createFakeClock() });
  const entries = await journal.read(revision(0), 1_000_000);
  await journal.close();
  const kept = new Map(entries.map((one) => [one.entry.id, Number(one.revision)]));
  const told = new Set(witness.told.values());
  expect(journal.corruption).toBeUndefined();
  expect(acknowledged.filter(([id]) => !kept.has(id))).toEqual([]);
  expect(acknowledged.filter(([id]) => !told.has(id))).toEqual([]);
  expect(entries.filter((one) => witness.told.get(one.revision) !== one.entry.id).map((one) => one.revision)).toEqual([]);
  expect(witness.faults).toEqual([]);
  // It was worth it: most rounds had acknowledged something, and the Watch had really to resume.
  expect([witness.acknowledged.size > rounds / 2, witness.resumed > rounds / 2]).toEqual([true, true]);
});
