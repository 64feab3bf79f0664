// Our own signs of life: appended at an interval, and sooner where somebody waits for an answer. Each that comes back proves what it follows.

import { randomBytes } from 'node:crypto';
import type { Presence, SealableRecord } from '../../core/fleet-record.ts';
import type { Clock, Journal } from '../../ports.ts';
import { Wakeup } from '../wakeup.ts';
import type { LogWriter } from './appending.ts';
import type { Members } from './members.ts';
import type { RollCalls } from './roll-calls.ts';
import { endingWith } from './together.ts';

/** What beats are made of. */
export interface BeatsParts {
  readonly journal: Pick<Journal, 'id' | 'head'>;
  /** Of this sidecar. */
  readonly name: string;
  /** Of this one run of it. */
  readonly run: string;
  readonly clock: Clock;
  readonly random: () => number;
  /** How long a sign of life is good for, in milliseconds. */
  readonly maxLagMs: number;
  readonly members: Members;
  readonly rollCalls: RollCalls;
  readonly isWhole: () => boolean;
}

/** When the log had one for sure, monotonic, and how long that took. */
export interface Confirmed {
  readonly atMs: number;
  readonly tookMs: number;
}

/** How often, where few are there. */
const shortestMs = 1_000;
/** Each adds so much: more than twenty share a rate of twenty a second, as far as the lag allows. */
const perMemberMs = 50;
/** Answers in one beat: what is more comes with the next. */
const mostAnswers = 1_000;
/** Beyond it the oldest are given up: whoever called gets no answer, and says who has not answered. */
const mostWaitingAnswers = 100_000;
/** Whoever has something to tell waits so long, at random, for more of it; and so much longer for each who answers as well. */
const answerSpreadMs = 20;
const spreadPerMemberMs = 1;

/** The beats of one process. */
export class Beats {
  readonly #parts: BeatsParts;
  readonly #wanted = new Wakeup();
  /** When each was appended, by the monotonic clock. */
  readonly #appended = new Map<number, number>();
  #turn = 0;
  #answers: string[] = [];
  #asks: string | undefined;
  #confirmed: Confirmed | undefined;

  constructor(parts: BeatsParts) {
    this.#parts = parts;
  }

  /** The first that the log had for sure over this connection; undefined: none yet. */
  get confirmed(): Confirmed | undefined {
    return this.#confirmed;
  }

  /** One is wanted soon. */
  hurry(): void {
    this.#wanted.wake();
  }

  /** Everything that stands before these calls is applied here. */
  answer(calls: readonly string[]): void {
    if (calls.length === 0) return;
    this.#answers = [...this.#answers, ...calls].slice(-mostWaitingAnswers);
    this.hurry();
  }

  /** The others are to tell what is theirs once more. */
  ask(): void {
    this.#asks = randomBytes(8).toString('hex');
    this.hurry();
  }

  /** They are, and the log does not have that for sure yet. */
  get isAsking(): boolean {
    return this.#asks !== undefined;
  }

  /** Monotonic: when this one of ours was appended; undefined: it is of another process, or has come before. */
  cameBack({ run, turn }: Presence): number | undefined {
    if (run !== this.#parts.run) return undefined;
    const appendedMs = this.#appended.get(turn);
    for (const earlier of this.#appended.keys()) if (earlier <= turn) this.#appended.delete(earlier);
    return appendedMs;
  }

  /** Appends one at once, and goes on until `signal` aborts; rejects where the log does not take one. */
  async beat(log: LogWriter, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#parts;
    this.#confirmed = undefined;
    this.#appended.clear();
    while (!signal.aborted) {
      const seen = this.#wanted.version;
      const startedMs = clock.monotonicMs();
      await this.#append(log);
      this.#confirmed ??= { atMs: clock.monotonicMs(), tookMs: clock.monotonicMs() - startedMs };
      try {
        await endingWith([signal], (over) => {
          return Promise.race([clock.delay(this.#intervalMs(), over.signal), this.#wanted.wait(seen, over.signal)]);
        });
        if (this.#wanted.version !== seen) await clock.delay(random() * this.#spreadMs(), signal);
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    }
  }

  /** The last one: nobody has to wait for us. Never rejects. */
  async leave(log: LogWriter): Promise<void> {
    await log.append(this.#made({ isLeaving: true })).catch(() => undefined);
  }

  #intervalMs(): number {
    const { maxLagMs, members } = this.#parts;
    return Math.min(maxLagMs / 3, Math.max(Math.min(shortestMs, maxLagMs / 4), members.count * perMemberMs));
  }

  #spreadMs(): number {
    const { maxLagMs, members } = this.#parts;
    return Math.min(maxLagMs / 10, Math.max(answerSpreadMs, members.count * spreadPerMemberMs));
  }

  async #append(log: LogWriter): Promise<void> {
    const { rollCalls, clock } = this.#parts;
    const answers = this.#answers.slice(0, mostAnswers);
    const asks = this.#asks;
    const more = { answers, calls: rollCalls.take(), ...(asks === undefined ? {} : { asks }) };
    this.#answers = this.#answers.slice(mostAnswers);
    if (this.#answers.length > 0) this.hurry();
    const record = this.#made(more);
    this.#appended.set(this.#turn, clock.monotonicMs());
    try {
      await log.append(record);
      if (this.#asks === asks) this.#asks = undefined;
    } catch (error) {
      this.#answers = [...answers, ...this.#answers].slice(-mostWaitingAnswers);
      throw error;
    }
  }

  #made(more: Partial<Presence>): SealableRecord {
    const { journal, name, run, clock, isWhole } = this.#parts;
    this.#turn += 1;
    const common = { journal: journal.id, name, run, turn: this.#turn, atMs: clock.nowMs(), head: journal.head() };
    return { kind: 'presence', presence: { ...common, isWhole: isWhole(), answers: [], calls: [], ...more } };
  }
}
