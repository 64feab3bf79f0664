// A real sidecar for tests of the road: everything but its issuer and, where wished, its clock and its journal is what users run.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import type { Adapters } from '../../src/adapters.ts';
import { defaultConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/types.ts';
import type { Token } from '../../src/core/token.ts';
import {
  type GetStatusResponse,
  RefreshRequest,
  type RefreshResponse,
  RevokeRequest,
  type RevokeResponse,
  Selector,
  TokenServiceClient,
  type ValidateResponse,
} from '../../src/gen/sidegate/v1/token_service.ts';
import type { Clock, Journal, TokenFormat } from '../../src/ports.ts';
import type { Issuer } from '../../src/service/issuer.ts';
import { createSidecar, type Running, systemClock } from '../../src/sidecar.ts';
import { lifeRules } from '../fakes/issuer.ts';
import { type Question, type Subscription, validateRequestOf } from '../fakes/requests.ts';
import { openWatcher, type Watcher } from '../fakes/watcher.ts';

/** What differs from the usual. */
export interface StageOptions {
  readonly clock?: Clock;
  /** Absent: in memory. */
  readonly journal?: Journal;
  readonly config?: (usual: Config) => Config;
}

/** A sidecar that runs, and who talks to it. */
export interface Stage {
  readonly running: Running;
  /** Every line that was logged. */
  readonly lines: readonly string[];
  /** Of its socket, which may do everything. */
  readonly client: TokenServiceClient;
  readonly socketPath: string;
  /** Appends `count` REFRESHes by the road's own entrance, a thousand at once: of signing keys `<prefix>0`, `<prefix>1`, … */
  append(count: number, prefix?: string): Promise<void>;
  revoke(selector: Partial<Selector>, more?: Partial<RevokeRequest>): Promise<RevokeResponse>;
  refresh(selector: Partial<Selector>): Promise<RefreshResponse>;
  validate(request: Question): Promise<ValidateResponse>;
  status(): Promise<GetStatusResponse>;
  watch(request?: Subscription): Watcher;
  /** Drains and closes. */
  stop(): Promise<void>;
}

/** Shapes that one issuer, `main`, accepts: the raw token is the user's id, on project p1, issued a minute ago, for an hour. */
function tokenOf(raw: string, nowMs: number): Token {
  const issuedAtMs = Math.floor(nowMs / 1000) * 1000 - 60_000;
  return {
    issuer: 'main',
    format: 'opaque',
    issuedAtMs,
    expiresAtMs: issuedAtMs + 3_600_000,
    user: { id: raw, name: raw },
    scope: { kind: 'project', project: { id: 'p1', isDomain: false } },
    roles: [],
    methods: [],
    auditIds: [`audit-${raw}`],
    audiences: [],
    scopes: [],
    isAdminProject: false,
  };
}

/** Rules for one that is asked: its tokens live a day at most. */
function issuerOf(format: TokenFormat): Issuer {
  return {
    name: 'main',
    accepts: ['opaque'],
    prefix: undefined,
    format,
    life: lifeRules({ maxTokenLifeMs: 86_400_000, skewMs: 0 }),
    expiredWithinMs: 0,
    serviceRoles: [],
    hasCatalogs: false,
    revokeUpstream: false,
    canAsk: true,
    movesEnds: false,
    calls: { deadlineMs: 5000, concurrency: 64, queue: 4096 },
  };
}

/** The usual configuration of a stage, in `dir`: a socket that may do everything, loopback that may not, no settle window. */
export function stageConfig(dir: string): Config {
  const defaults = defaultConfig();
  return {
    ...defaults,
    name: 'stage',
    listen: {
      socket: { path: join(dir, 'sidegate.sock'), mode: 0o600, group: undefined },
      tcp: { host: '127.0.0.1', port: 0 },
      operations: { host: '127.0.0.1', port: 0 },
      keystone: undefined,
      introspection: undefined,
      remote: undefined,
    },
    callers: [
      { who: { kind: 'local' }, may: ['validate', 'watch', 'status'] },
      { who: { kind: 'socket' }, may: ['revoke', 'refresh', 'details'] },
    ],
    issuers: [
      {
        kind: 'introspection',
        revocation: undefined,
        serviceRoles: [],
        revokeUpstream: false,
        name: 'main',
        url: 'http://127.0.0.1:9',
        auth: { kind: 'basic', clientId: 'stage', clientSecret: { path: 'nowhere', read: async () => 'nothing' } },
        tls: { caFile: undefined, serverName: undefined },
        skewMs: 0,
        maxTokenLifeMs: 86_400_000,
        accepts: ['opaque'],
        prefix: undefined,
        calls: { deadlineMs: 5000, concurrency: 64, queue: 4096, attempts: 1 },
        endless: false,
      },
    ],
    caching: { ...defaults.caching, settleMs: 0 },
    journal: { dir: undefined },
    shutdown: { drainMs: 2000 },
  };
}

/** Starts one. */
export async function startStage(options: StageOptions = {}): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'sidegate-stage-'));
  const usual = stageConfig(dir);
  const config = options.config?.(usual) ?? usual;
  const clock = options.clock ?? systemClock;
  let invalidate: ((keyId: string) => Promise<void>) | undefined;
  const format: TokenFormat = {
    name: 'opaque',
    read: async (raw) => ({
      kind: 'facts',
      provenance: 'authority',
      facts: { token: tokenOf(raw, clock.nowMs()), identity: `audit-${raw}`, hasAccessRules: false, unknown: [] },
    }),
    health: () => ({ reachable: true }),
    run: async (signal, given) => {
      invalidate = given;
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    },
  };
  const { journal } = options;
  const adapters: Partial<Adapters> = {
    issuer: () => ({ issuer: issuerOf(format), close: async () => undefined }),
    ...(journal === undefined ? {} : { journal: async () => journal }),
  };
  const lines: string[] = [];
  const stop = new AbortController();
  const sidecar = createSidecar({ config, clock, adapters, destination: { write: (line: string) => lines.push(line) } });
  const running = await sidecar.start(stop.signal);
  const client = new TokenServiceClient(running.socket ?? '', credentials.createInsecure());
  const watchers: Watcher[] = [];

  return {
    running,
    lines,
    client,
    socketPath: config.listen.socket?.path ?? '',
    append: async (count, prefix = 'key-') => {
      const append = invalidate;
      if (append === undefined) throw new Error('the issuer is not running');
      for (let from = 0; from < count; from += 1000) {
        const some = Math.min(1000, count - from);
        await Promise.all(Array.from({ length: some }, (_, n) => append(`${prefix}${from + n}`)));
      }
    },
    revoke: (selector, more = {}) =>
      answered((done) =>
        client.revoke(
          RevokeRequest.fromPartial({
            target: { $case: 'selector', value: Selector.fromPartial({ issuer: 'main', ...selector }) },
            ...more,
          }),
          done,
        ),
      ),
    refresh: (selector) =>
      answered((done) =>
        client.refresh(RefreshRequest.fromPartial({ selector: Selector.fromPartial({ issuer: 'main', ...selector }) }), done),
      ),
    validate: (request) => answered((done) => client.validate(validateRequestOf(request), done)),
    status: () => answered((done) => client.getStatus({}, done)),
    watch: (request = {}) => {
      const watcher = openWatcher(client, request);
      watchers.push(watcher);
      return watcher;
    },
    stop: async () => {
      stop.abort();
      await running.stopped;
      for (const watcher of watchers) watcher.cancel();
      client.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A unary call as a promise. */
export function answered<Answer>(call: (done: (error: ServiceError | null, answer: Answer) => void) => unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    call((error, answer) => (error === null ? resolve(answer) : reject(error)));
  });
}

/** `inner`, but for what `changes` has. */
export function journalWith(inner: Journal, changes: Partial<Journal>): Journal {
  return new Proxy(inner, {
    get: (target, name) => {
      const value: unknown = Reflect.get(name in changes ? changes : target, name, target);
      // Its private parts are the target's own.
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
