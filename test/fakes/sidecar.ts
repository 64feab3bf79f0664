// A real sidecar on a socket and ports of its own, over scripted or real issuers, and somebody who calls it and keeps all that it says.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { type AdapterDeps, adapters } from '../../src/adapters.ts';
import { defaultConfig } from '../../src/config/load.ts';
import { secretFile } from '../../src/config/secrets.ts';
import type { CallerRule, Config, IssuerConfig } from '../../src/config/types.ts';
import {
  FindTokenRequest,
  FindTokenResponse,
  GetStatusRequest,
  GetStatusResponse,
  RefreshRequest,
  RefreshResponse,
  RevokeRequest,
  RevokeResponse,
  ValidateRequest,
  ValidateResponse,
} from '../../src/gen/sidegate/v1/token_service.ts';
import { createMemoryJournal } from '../../src/journal/memory.ts';
import type { Clock, Journal, NewsSource } from '../../src/ports.ts';
import { createSidecar, type Running, systemClock } from '../../src/sidecar.ts';
import { decodeStatusDetails, statusDetailsKey } from '../../src/wire/status-details.ts';
import type { FakeIssuer } from './issuer.ts';
import { type Question, validateRequestOf } from './requests.ts';

/** What a test's sidecar is made of; what is not said is the default of the configuration. */
export interface SidecarPlan {
  readonly fakes?: readonly FakeIssuer[];
  /** Beside the fakes: issuers with the real adapters. */
  readonly issuers?: readonly IssuerConfig[];
  readonly callers?: readonly CallerRule[];
  readonly config?: (config: Config) => Config;
  readonly journal?: Journal;
  readonly clock?: Clock;
  /** Who tells of what happens at an issuer of the fakes, by its name. */
  readonly news?: Readonly<Record<string, readonly NewsSource[]>>;
  /** What our adapters are given. */
  readonly onIssuer?: (deps: AdapterDeps) => void;
}

/** What came of one call. */
export interface Outcome<Response> {
  /** `OK`, or the name of the status. */
  readonly status: string;
  readonly response: Response | undefined;
  /** ErrorInfo.reason. */
  readonly reason: string | undefined;
  /** RetryInfo, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  readonly message: string;
}

/** How a call is made: by default over the socket, with 10 s. */
export interface CallOptions {
  readonly over?: 'socket' | 'tcp';
  readonly bearer?: string;
  readonly deadlineMs?: number;
  /** No deadline at all. */
  readonly endless?: true;
}

/** Allows what the defaults of the configuration allow, and an admin of `central` everything. */
export const testCallers: readonly CallerRule[] = [
  { who: { kind: 'local' }, may: ['validate', 'watch'] },
  { who: { kind: 'socket' }, may: ['status', 'revoke', 'refresh', 'find', 'details'] },
  { who: { kind: 'token-role', role: 'admin', issuer: 'central' }, may: ['status', 'revoke', 'refresh', 'find', 'details'] },
];

/** A sidecar that runs, and what has come out of it. */
export type TestSidecar = Awaited<ReturnType<typeof startSidecar>>;

/** Starts one. End it with `stop`. */
export async function startSidecar(plan: SidecarPlan = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'sidegate-test-'));
  const { fakes = [], issuers = [], clock = systemClock } = plan;
  const fakeOf = new Map(fakes.map((fake) => [fake.issuer.name, fake]));
  const base: Config = {
    ...defaultConfig(),
    name: 'test',
    listen: {
      socket: { path: join(directory, 'run', 's.sock'), mode: 0o600, group: undefined },
      tcp: { host: '127.0.0.1', port: 0 },
      operations: { host: '127.0.0.1', port: 0 },
      keystone: undefined,
      introspection: undefined,
      remote: undefined,
    },
    callers: plan.callers ?? testCallers,
    issuers: [...fakes.map((fake) => placeholder(fake.issuer.name)), ...issuers],
    journal: { dir: undefined },
    logging: { level: 'debug', format: 'json' },
    shutdown: { drainMs: 2000 },
  };
  const lines: string[] = [];
  const sidecar = createSidecar({
    config: plan.config?.(base) ?? base,
    clock,
    destination: { write: (line: string) => void lines.push(line) },
    adapters: {
      issuer(config, deps) {
        plan.onIssuer?.(deps);
        const fake = fakeOf.get(config.name);
        const news = plan.news?.[config.name] ?? [];
        return fake ? { issuer: fake.issuer, news, close: async () => undefined } : adapters.issuer(config, deps);
      },
      journal: async () => plan.journal ?? createMemoryJournal({ clock }),
    },
  });
  const stopping = new AbortController();
  const running: Running = await sidecar.start(stopping.signal);
  const insecure = credentials.createInsecure();
  const clients = { socket: new Client(running.socket ?? '', insecure), tcp: new Client(running.tcp ?? '', insecure) };
  const said: string[] = [];

  /** Any bytes to any method. */
  function call(method: string, request: Uint8Array, options: CallOptions = {}): Promise<Outcome<Buffer>> {
    const metadata = new Metadata();
    if (options.bearer !== undefined) metadata.set('authorization', `Bearer ${options.bearer}`);
    const path = method.startsWith('/') ? method : `/sidegate.v1.TokenService/${method}`;
    const deadline = options.endless ? {} : { deadline: Date.now() + (options.deadlineMs ?? 10_000) };
    return new Promise((resolve) => {
      const same = (bytes: Buffer): Buffer => bytes;
      const done = (error: ServiceError | null, response?: Buffer): void => {
        said.push(error ? `${error.message} ${JSON.stringify(error.metadata.toJSON())}` : (response ?? Buffer.alloc(0)).toString('latin1'));
        resolve(outcomeOf(error, response));
      };
      clients[options.over ?? 'socket'].makeUnaryRequest(path, same, same, Buffer.from(request), metadata, deadline, done);
    });
  }

  async function typed<Response>(
    answer: Promise<Outcome<Buffer>>,
    codec: { readonly decode: (bytes: Uint8Array) => Response },
  ): Promise<Outcome<Response>> {
    const outcome = await answer;
    return { ...outcome, response: outcome.response && codec.decode(outcome.response) };
  }

  return {
    ...running,
    clients,
    call,
    validate: (request: Question, options?: CallOptions) =>
      typed(call('Validate', ValidateRequest.encode(validateRequestOf(request)).finish(), options), ValidateResponse),
    revoke: (request: Parameters<typeof RevokeRequest.fromPartial>[0], options?: CallOptions) =>
      typed(call('Revoke', RevokeRequest.encode(RevokeRequest.fromPartial(request)).finish(), options), RevokeResponse),
    refresh: (request: Parameters<typeof RefreshRequest.fromPartial>[0], options?: CallOptions) =>
      typed(call('Refresh', RefreshRequest.encode(RefreshRequest.fromPartial(request)).finish(), options), RefreshResponse),
    findToken: (request: Parameters<typeof FindTokenRequest.fromPartial>[0], options?: CallOptions) =>
      typed(call('FindToken', FindTokenRequest.encode(FindTokenRequest.fromPartial(request)).finish(), options), FindTokenResponse),
    getStatus: (options?: CallOptions) =>
      typed(call('GetStatus', GetStatusRequest.encode(GetStatusRequest.create()).finish(), options), GetStatusResponse),
    metrics: async () => (await fetch(`http://${running.operations}/metrics`)).text(),
    /** Log and audit lines, parsed. */
    lines: (): readonly Readonly<Record<string, unknown>>[] => lines.map((line) => JSON.parse(line)),
    audits: () => lines.map((line): Readonly<Record<string, unknown>> => JSON.parse(line)).filter((line) => line['audit'] === true),
    /** Everything that has come out: responses, errors, lines and metrics. */
    everything: async (): Promise<string> =>
      [...said, ...lines, await (await fetch(`http://${running.operations}/metrics`)).text()].join('\n'),
    /** Begins to drain; `stopped` tells when that is over. */
    drain: () => stopping.abort(),
    async stop() {
      for (const client of Object.values(clients)) client.close();
      stopping.abort();
      await running.stopped;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function outcomeOf(error: ServiceError | null, response: Buffer | undefined): Outcome<Buffer> {
  if (!error) return { status: 'OK', response, reason: undefined, retryAfterMs: undefined, message: '' };
  const [bytes] = error.metadata.get(statusDetailsKey);
  const { reason, retryAfterMs } = bytes instanceof Buffer ? decodeStatusDetails(bytes) : {};
  return { status: status[error.code] ?? String(error.code), response: undefined, reason, retryAfterMs, message: error.details };
}

/** The configuration of a scripted issuer: only its name is looked at. */
function placeholder(name: string): IssuerConfig {
  return {
    kind: 'introspection',
    revocation: undefined,
    serviceRoles: [],
    revokeUpstream: false,
    name,
    tls: { caFile: undefined, serverName: undefined },
    skewMs: 0,
    maxTokenLifeMs: 1,
    url: 'http://127.0.0.1:9',
    auth: { kind: 'basic', clientId: 'none', clientSecret: secretFile('/nowhere') },
    accepts: ['opaque'],
    prefix: undefined,
    calls: { deadlineMs: 1, concurrency: 1, queue: 1, attempts: 1 },
    endless: false,
  };
}
