// Plays test/vectors/near-cache-cases.json: a scripted sidecar on one side, any near cache, in any language, on the other.

import { readFileSync } from 'node:fs';
import { status } from '@grpc/grpc-js';
import { expect } from 'vitest';
import {
  type Cursor,
  Effect,
  InactiveReason,
  type Invalidation,
  Provenance,
  ResetReason,
  Token,
  ValidateResponse,
  type WatchResponse,
} from '../../src/gen/sidegate/v1/token_service.ts';
import { durationFromMs } from '../../src/wire/time.ts';
import { Refusal, ScriptedSidecar, type Subscription } from './scripted-sidecar.ts';

/** As in WatchFilter of the API. */
export interface CaseFilter {
  readonly issuers?: readonly string[];
  readonly user_ids?: readonly string[];
  readonly project_ids?: readonly string[];
}

/** One scripted case; `pauses`: its subject is stopped and continued, so it must be a process of its own. */
export interface NearCacheCase {
  readonly name: string;
  readonly filter?: CaseFilter;
  readonly pauses?: boolean;
  readonly steps: readonly Step[];
}

/** What the sidecar says about a token. */
interface Said {
  readonly active?: boolean;
  /** JOURNAL:REV. */
  readonly as_of?: string;
  readonly max_age_ms?: number;
  readonly tags?: readonly string[];
  readonly issuer?: string;
  readonly user?: string;
  readonly trustee?: string;
  readonly project?: string;
  readonly degraded?: boolean;
}

interface ScriptedInvalidation {
  readonly at: string;
  readonly tags?: readonly string[];
  /** Or a number that no version knows. */
  readonly effect?: 'REVOKE' | 'REFRESH' | number;
  readonly spread_ms?: number;
}

interface Opening {
  /** The cursor that the client must have sent; null: none. */
  readonly after?: string | null;
  readonly latest?: string;
  readonly interval_ms?: number;
  readonly proof_lifetime_ms?: number;
}

/** `unseen`: the subject is stopped and will see the message later. */
type Step =
  | ({ readonly do: 'subscribe' } & Opening)
  | ({ readonly do: 'open'; readonly unseen?: boolean } & Opening)
  | ({ readonly do: 'answer'; readonly token: string } & Said)
  | ({ readonly do: 'warm'; readonly token: string } & Said)
  | {
      readonly do: 'validate';
      readonly token: string;
      readonly expect: 'hit' | 'asked';
      readonly active?: boolean;
      readonly resuming?: boolean;
    }
  | { readonly do: 'start'; readonly token: string }
  | ({ readonly do: 'finish'; readonly token: string } & Said)
  | { readonly do: 'batch'; readonly invalidations: readonly ScriptedInvalidation[] }
  | { readonly do: 'flood'; readonly journal: string; readonly from: number; readonly to: number; readonly tags: readonly string[] }
  | {
      readonly do: 'checkpoint';
      readonly at: string;
      /** How long ago the sidecar wrote it. */
      readonly age_ms?: number;
      /** How far `proven_through` was behind then. */
      readonly proven_age_ms?: number;
      readonly degraded?: boolean;
      readonly degraded_issuers?: readonly string[];
      readonly without?: 'server_time' | 'proven_through';
      readonly unseen?: boolean;
    }
  | { readonly do: 'reset'; readonly at: string; readonly reason: string | number }
  | { readonly do: 'unknown_case' }
  | { readonly do: 'cut' }
  | { readonly do: 'pause' }
  | { readonly do: 'wait'; readonly ms: number };

/** A near cache under test. */
export interface Subject {
  /** What it answers. */
  validate(token: string): Promise<{ readonly active: boolean }>;
  /** Events of Watch it has seen so far: opened, each invalidation, checkpoints, resets, and the end of a stream. */
  events(): Promise<number>;
  /** Stops its process, and lets it go on. */
  pause?(): void;
  resume?(): void;
  end(): Promise<void>;
}

/** The cases, as they stand in the file. */
export function nearCacheCases(): readonly NearCacheCase[] {
  const file = new URL('../vectors/near-cache-cases.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { cases: NearCacheCase[] }).cases;
}

/** Plays one case against what `begin` makes; fails by an assertion that names the step. */
export async function playNearCacheCase(
  scripted: NearCacheCase,
  begin: (address: string, filter: CaseFilter | undefined) => Promise<Subject>,
): Promise<void> {
  const sidecar = await ScriptedSidecar.start();
  try {
    const subject = await begin(sidecar.address, scripted.filter);
    try {
      const stage = new Stage(sidecar, subject, scripted);
      for (const [index, step] of scripted.steps.entries()) await stage.play(step, `step ${index + 1}: ${JSON.stringify(step)}`);
    } finally {
      await subject.end();
    }
  } finally {
    sidecar.stop();
  }
}

/** A time at which the script's own clock stands at zero: far from the clock of the subject, as it must not matter. */
const baseMs = Date.UTC(2031, 0, 1);

class Stage {
  readonly #sidecar: ScriptedSidecar;
  readonly #subject: Subject;
  readonly #case: NearCacheCase;
  readonly #answers = new Map<string, Said>();
  readonly #asked = new Map<string, number>();
  readonly #held = new Map<string, { release(said: Said): void; answer: Promise<{ readonly active: boolean }> }>();
  readonly #holding = new Map<string, (release: (said: Said) => void) => void>();
  readonly #startedMs = performance.now();
  #subscription: Subscription | undefined;
  #events = 0;

  constructor(sidecar: ScriptedSidecar, subject: Subject, scripted: NearCacheCase) {
    this.#sidecar = sidecar;
    this.#subject = subject;
    this.#case = scripted;
    sidecar.on.validate = async ({ credential }) => {
      const token = credential?.value ?? '';
      this.#asked.set(token, this.#askedOf(token) + 1);
      const holding = this.#holding.get(token);
      this.#holding.delete(token);
      const said = holding ? await new Promise<Said>(holding) : this.#answers.get(token);
      if (said === undefined) throw new Refusal(status.INTERNAL, { reason: 'NOT_IN_THE_SCRIPT' });
      return answerMessage(said);
    };
  }

  async play(step: Step, where: string): Promise<void> {
    switch (step.do) {
      case 'subscribe':
        return this.#subscribe(step, where);
      case 'open': {
        if (this.#subscription === undefined) await this.#subscribe(step, where);
        const { interval_ms = 60_000, proof_lifetime_ms = 180_000, latest = 'J:5' } = step;
        return this.#send(
          { $case: 'opened', value: openedMessage(latest, interval_ms, proof_lifetime_ms) },
          step.unseen ? 'unseen' : where,
        );
      }
      case 'answer':
        this.#answers.set(step.token, step);
        return;
      case 'warm':
        this.#answers.set(step.token, step);
        await this.#validate(step.token, 'asked', true, where);
        return this.#validate(step.token, 'hit', true, where);
      case 'validate':
        if (step.resuming) queueMicrotask(() => this.#subject.resume?.());
        return this.#validate(step.token, step.expect, step.active ?? true, where);
      case 'start':
        return this.#start(step.token);
      case 'finish': {
        const held = this.#held.get(step.token);
        expect(held, where).toBeDefined();
        held?.release(step);
        expect((await held?.answer)?.active, where).toBe(step.active ?? true);
        return;
      }
      case 'batch':
        return this.#batch(step.invalidations, where);
      case 'flood': {
        const revisions = Array.from({ length: step.to - step.from + 1 }, (_, index) => step.from + index);
        for (let first = 0; first < revisions.length; first += 256) {
          const part = revisions.slice(first, first + 256);
          await this.#batch(
            part.map((revision) => ({ at: `${step.journal}:${revision}`, tags: step.tags })),
            where,
          );
        }
        return;
      }
      case 'checkpoint': {
        const serverMs = baseMs + performance.now() - this.#startedMs - (step.age_ms ?? 0);
        const value = {
          cursor: cursorMessage(step.at),
          serverTime: step.without === 'server_time' ? undefined : new Date(serverMs),
          provenThrough: step.without === 'proven_through' ? undefined : new Date(serverMs - (step.proven_age_ms ?? 0)),
          degraded: step.degraded ?? false,
          degradedIssuers: [...(step.degraded_issuers ?? [])],
          sources: [],
        };
        return this.#send({ $case: 'checkpoint', value }, step.unseen ? 'unseen' : where);
      }
      case 'reset': {
        const reason = typeof step.reason === 'number' ? step.reason : ResetReason[step.reason as keyof typeof ResetReason];
        const value = { reason: reason as ResetReason, cursor: cursorMessage(step.at), earliest: cursorMessage(step.at) };
        return this.#send({ $case: 'reset', value }, where);
      }
      case 'unknown_case':
        // Field 15, length-delimited, "x": no event, so nothing to wait for.
        this.#subscription?.send({ _unknownFields: { 122: [new Uint8Array([1, 0x78])] } });
        return;
      case 'cut':
        this.#subscription?.cut(new Refusal(status.UNAVAILABLE));
        this.#subscription = undefined;
        this.#events += 1;
        return this.#seen(where);
      case 'pause':
        this.#subject.pause?.();
        return;
      case 'wait':
        await new Promise((resolve) => setTimeout(resolve, step.ms));
        return;
    }
  }

  async #subscribe(step: Opening, where: string): Promise<void> {
    const subscription = await this.#sidecar.subscription();
    const { start, filter } = subscription.request;
    const after = start?.$case === 'after' ? start.value : undefined;
    expect(after === undefined ? null : `${after.journal}:${after.revision}`, `${where}: cursor`).toBe(step.after ?? null);
    // No filter and an empty one are the same.
    const sent = { issuers: filter?.issuers ?? [], user_ids: filter?.userIds ?? [], project_ids: filter?.projectIds ?? [] };
    expect(sent, `${where}: filter`).toEqual({ issuers: [], user_ids: [], project_ids: [], ...this.#case.filter });
    this.#subscription = subscription;
  }

  async #validate(token: string, wanted: 'hit' | 'asked', active: boolean, where: string): Promise<void> {
    const before = this.#askedOf(token);
    const answer = await this.#subject.validate(token);
    expect({ answered: this.#askedOf(token) === before ? 'hit' : 'asked', active: answer.active }, where).toEqual({
      answered: wanted,
      active,
    });
  }

  /** Begins a call whose answer waits for `finish`. Resolves when the sidecar has the question. */
  async #start(token: string): Promise<void> {
    let answer: Promise<{ readonly active: boolean }> | undefined;
    const release = await new Promise<(said: Said) => void>((held) => {
      this.#holding.set(token, held);
      answer = this.#subject.validate(token);
    });
    if (answer !== undefined) this.#held.set(token, { release, answer });
  }

  async #batch(invalidations: readonly ScriptedInvalidation[], where: string): Promise<void> {
    this.#subscription?.send({ message: { $case: 'batch', value: { invalidations: invalidations.map(invalidationMessage) } } });
    this.#events += invalidations.length;
    await this.#seen(where);
  }

  async #send(message: WatchResponse['message'], where: string): Promise<void> {
    this.#subscription?.send({ message });
    this.#events += 1;
    if (where !== 'unseen') await this.#seen(where);
  }

  /** Until the subject has seen everything that was sent. */
  async #seen(where: string): Promise<void> {
    const giveUpMs = performance.now() + 10_000;
    for (let seen = -1; seen !== this.#events; seen = await this.#subject.events()) {
      if (performance.now() > giveUpMs) throw new Error(`${where}: the subject has seen ${seen} events of ${this.#events}`);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  }

  #askedOf(token: string): number {
    return this.#asked.get(token) ?? 0;
  }
}

function cursorMessage(text: string): Cursor {
  const [journal = '', revision = ''] = text.split(':');
  return { journal, revision: BigInt(revision) };
}

function openedMessage(latest: string, intervalMs: number, proofLifetimeMs: number) {
  return {
    earliest: cursorMessage(latest),
    latest: cursorMessage(latest),
    checkpointInterval: durationFromMs(intervalMs),
    proofLifetime: durationFromMs(proofLifetimeMs),
    sidecar: 'scripted',
    subscription: 's',
  };
}

function invalidationMessage({ at, tags = [], effect = 'REVOKE', spread_ms: spreadMs }: ScriptedInvalidation): Invalidation {
  return {
    cursor: cursorMessage(at),
    effect: (typeof effect === 'number' ? effect : Effect[effect]) as Effect,
    spread: spreadMs === undefined ? undefined : durationFromMs(spreadMs),
    tags: tags.map(BigInt),
    entryId: `entry-${at}`,
  };
}

function answerMessage(said: Said): ValidateResponse {
  const { active = true, as_of = 'J:5', max_age_ms = 60_000, tags = ['1', '2', '3'], issuer = 'central', user = 'alice' } = said;
  const base = {
    active,
    reason: active ? InactiveReason.UNSPECIFIED : InactiveReason.REVOKED,
    fingerprint: 'f',
    asOf: cursorMessage(as_of),
    tags: tags.map(BigInt),
    provenance: Provenance.MEMORY,
    degraded: said.degraded ?? false,
  };
  if (!active) return ValidateResponse.fromPartial(base);
  return ValidateResponse.fromPartial({
    ...base,
    maxAge: durationFromMs(max_age_ms),
    token: Token.fromPartial({
      issuer,
      format: 'opaque',
      user: { id: user },
      ...(said.trustee === undefined ? {} : { trust: { id: 't', trustorUserId: user, trusteeUserId: said.trustee } }),
      ...(said.project === undefined ? {} : { scope: { $case: 'project', value: { id: said.project } } }),
    }),
  });
}
