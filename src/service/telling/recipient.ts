// One authority that letters wait for: which of them is next, and how it has gone.

import { SidecarError } from '../../core/errors.ts';
import type { Clock, Telemetry } from '../../ports.ts';
import type { Forwarded } from '../asked.ts';
import type { Issuer } from '../issuer.ts';
import { keysMayBeOld } from '../killing.ts';
import { backoffMs } from './backoff.ts';
import type { LetterHead } from './letter.ts';
import type { Kept } from './letters.ts';

/** One letter on its way. */
export interface Delivery {
  readonly kept: Kept;
  readonly head: LetterHead;
  /** Attempts that failed. */
  failures: number;
  /** Monotonic. */
  notBeforeMs: number;
  running: Promise<void> | undefined;
  /** Replies that wait for what comes of it. */
  readonly waiting: Set<(said: Forwarded) => void>;
  /** Is told when the token turns out to be one. */
  known: (() => void) | undefined;
}

/** How it goes with one authority. Counts are since the start, of revocations that it is told of. */
export interface RecipientStatus {
  readonly issuer: string;
  /** What waits to be told, or learned. */
  readonly pending: number;
  readonly accepted: number;
  readonly rejected: number;
  readonly expired: number;
  /** When the oldest that waits was accepted here. */
  readonly oldestAtMs?: number;
}

/** What a recipient needs. */
export interface RecipientParts {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** From 0 to below 1, for jitter. */
  readonly random: () => number;
}

/** Attempts at one authority at a time: Validate needs it more. */
const atOnce = 2;

/** Failures in a row that are no single letter's. */
const outage = 3;

type Outcome = 'accepted' | 'rejected' | 'expired' | 'error';

/** The letters to one issuer, and their turns. */
export class Recipient {
  readonly issuer: Issuer;
  readonly #parts: RecipientParts;
  readonly #deliveries = new Map<string, Delivery>();
  readonly #counts: Record<Outcome, number> = { accepted: 0, rejected: 0, expired: 0, error: 0 };
  readonly #counters: Readonly<Record<Outcome, { add(n?: number): void }>>;
  readonly #running = new Set<Promise<void>>();
  /** In a row, whichever letter. */
  #failures = 0;
  #pausedUntilMs = -Infinity;
  #silentUntilMs = -Infinity;

  constructor(issuer: Issuer, parts: RecipientParts) {
    this.issuer = issuer;
    this.#parts = parts;
    const counter = (outcome: Outcome) => parts.telemetry.counter('sidegate_upstream_forwarded_total', { issuer: issuer.name, outcome });
    this.#counters = { accepted: counter('accepted'), rejected: counter('rejected'), expired: counter('expired'), error: counter('error') };
  }

  find(id: string): Delivery | undefined {
    return this.#deliveries.get(id);
  }

  /** In place of one of the same id. `failures`: 0 of what has just been asked for, which is tried at once. */
  add(kept: Kept, head: LetterHead, failures: number): Delivery {
    const notBeforeMs = this.#parts.clock.monotonicMs();
    const delivery: Delivery = { kept, head, failures, notBeforeMs, running: undefined, waiting: new Set(), known: undefined };
    this.#deliveries.set(kept.id, delivery);
    return delivery;
  }

  remove({ kept }: Delivery): void {
    this.#deliveries.delete(kept.id);
  }

  /** Begins what may begin now. `work` never rejects; `ended` is called when its turn is free again. */
  begin(work: (delivery: Delivery) => Promise<void>, ended: () => void): void {
    const nowMs = this.#parts.clock.monotonicMs();
    while (this.#running.size < atOnce) {
      const next = this.#next(nowMs);
      if (!next) return;
      const running: Promise<void> = this.beside(next, work).finally(() => {
        this.#running.delete(running);
        ended();
      });
      this.#running.add(running);
    }
  }

  /** Does the work of a letter in the turn of another, or waits for it where it is under way. `work` never rejects. */
  beside(delivery: Delivery, work: (delivery: Delivery) => Promise<void>): Promise<void> {
    if (!delivery.running && !delivery.kept.isReadable) return Promise.resolve();
    delivery.running ??= work(delivery).finally(() => {
      delivery.running = undefined;
    });
    return delivery.running;
  }

  /** Whether it has said itself that it will not answer within `ms`, and is not being asked. */
  isSilentFor({ running }: Delivery, ms: number): boolean {
    return !running && this.#silentUntilMs - this.#parts.clock.monotonicMs() > ms;
  }

  /** When to look again, by the monotonic clock; `Infinity`: when something has changed. */
  nextAtMs(): number {
    if (this.#running.size >= atOnce) return Infinity;
    let soonestMs = Infinity;
    for (const delivery of this.#deliveries.values()) soonestMs = Math.min(soonestMs, this.#dueAtMs(delivery));
    return soonestMs;
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** It has answered. After an outage everything that waits is due: none of it failed by itself. */
  succeeded(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    if (this.#failures > 0) this.#parts.telemetry.log.info({ issuer: this.issuer.name }, 'the authority can be told of revocations again');
    if (this.#failures >= outage) for (const one of this.#deliveries.values()) one.notBeforeMs = Math.min(one.notBeforeMs, nowMs);
    this.#failures = 0;
    this.#pausedUntilMs = -Infinity;
    this.#silentUntilMs = -Infinity;
  }

  /** It has not. What waits for it is tried again, ever later, one at a time for all of them. */
  failed(delivery: Delivery, error: unknown): void {
    const { clock, telemetry, random } = this.#parts;
    const nowMs = clock.monotonicMs();
    const retryAfterMs = (error instanceof SidecarError ? error.retryAfterMs : undefined) ?? 0;
    delivery.failures += 1;
    delivery.notBeforeMs = nowMs + backoffMs(delivery.failures, retryAfterMs, random);
    // Nobody was asked. Strangers make such tokens up: the letters of others do not wait for them.
    if (error instanceof SidecarError && error.reason === keysMayBeOld) return;
    this.#failures += 1;
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, nowMs + backoffMs(this.#failures, retryAfterMs, random));
    this.#silentUntilMs = Math.max(this.#silentUntilMs, nowMs + Math.min(retryAfterMs, 300_000));
    if (delivery.head.errand === 'forward') this.count('error');
    // What is no SidecarError may say anything, also what it was asked with.
    const reason = error instanceof SidecarError ? error.reason : 'INTERNAL';
    const fields = { issuer: this.issuer.name, reason, pending: this.#deliveries.size };
    if (this.#failures === 1) telemetry.log.warn(fields, 'the authority could not be told of a revocation, or asked; it is tried again');
  }

  count(outcome: Outcome): void {
    this.#counts[outcome] += 1;
    this.#counters[outcome].add();
  }

  status(): RecipientStatus {
    const { accepted, rejected, expired } = this.#counts;
    const oldestAtMs = this.#oldestAtMs();
    const pending = this.#deliveries.size;
    return { issuer: this.issuer.name, pending, accepted, rejected, expired, ...(oldestAtMs !== undefined && { oldestAtMs }) };
  }

  /** What somebody waits for, and what is new, in the order of its coming; then what has failed, the longest ago first. */
  #next(nowMs: number): Delivery | undefined {
    let best: Delivery | undefined;
    for (const delivery of this.#deliveries.values()) {
      if (this.#dueAtMs(delivery) > nowMs) continue;
      const isBefore =
        !best || (isPressing(delivery) === isPressing(best) ? delivery.notBeforeMs < best.notBeforeMs : isPressing(delivery));
      if (isBefore) best = delivery;
    }
    return best;
  }

  /** `Infinity`: it is under way, or cannot be delivered. */
  #dueAtMs(delivery: Delivery): number {
    const { kept, head, running, notBeforeMs } = delivery;
    if (running || !kept.isReadable || (head.errand === 'forward' && !this.issuer.revoke)) return Infinity;
    // Somebody waits: an authority that may be back is tried at once, unless it has said itself when.
    return Math.max(notBeforeMs, this.#silentUntilMs, isPressing(delivery) ? -Infinity : this.#pausedUntilMs);
  }

  #oldestAtMs(): number | undefined {
    let oldestAtMs: number | undefined;
    for (const { head } of this.#deliveries.values()) oldestAtMs = Math.min(oldestAtMs ?? Infinity, head.acceptedAtMs);
    return oldestAtMs;
  }
}

function isPressing({ failures, waiting }: Delivery): boolean {
  return failures === 0 || waiting.size > 0;
}
