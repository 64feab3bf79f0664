// Keystone's list of revocation events as a source of news: asked for at an interval, from a little before where the last one ended (S11).

import { SidecarError } from '../core/errors.ts';
import type {
  Clock,
  ClockReading,
  DependencyHealth,
  HeardQuestion,
  Journal,
  Logger,
  NewsSink,
  NewsSource,
  SharedQuestion,
} from '../ports.ts';
import { ListedRows } from './listed-rows.ts';
import { OthersPolls } from './others-polls.ts';
import { PollProgress } from './poll-progress.ts';
import { PollTurns } from './poll-turns.ts';
import { SinceValues } from './since-values.ts';
import { Sweeps } from './sweeps.ts';
import { WaitingLooks } from './waiting-looks.ts';

/** Whose list, and how often. */
export interface RevocationEventsOptions {
  /** Name of the issuer in the configuration. */
  readonly issuer: string;
  readonly everyMs: number;
  /** How far a poll reaches back before the one before: for clocks that differ, and rows that are written late. */
  readonly overlapMs: number;
  /** Between two that reach back over `reachMs`. */
  readonly sweepMs: number;
  /** A token's whole life, with the time that it may serve beyond its end. */
  readonly reachMs: number;
  /** How long facts may serve before Keystone is asked again; `Infinity`: until the token ends. */
  readonly factsLifeMs: number;
}

/** What Keystone lists. */
export type ListedEvents =
  | ({ readonly kind: 'events'; readonly events: readonly unknown[]; readonly dateMs?: number } & ClockReading)
  | { readonly kind: 'too-large' };

/** What the source needs of the world. */
export interface RevocationEventsDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to below 1, for jitter. */
  readonly random: () => number;
  /** What Keystone lists since then (whole seconds, exclusive, by its clock). Throws SidecarError where it does not. Has a deadline. */
  readonly list: (sinceMs: number, signal: AbortSignal) => Promise<ListedEvents>;
  /** Where it is kept how far it has come. */
  readonly notes: Pick<Journal, 'note' | 'noted'>;
  /** Where one sidecar asks for a whole fleet: polls, and sweeps. */
  readonly shared?: { readonly poll: SharedQuestion; readonly sweep: SharedQuestion } | undefined;
}

/** How long to wait after a failure: doubled with each, up to the latter. Milliseconds. */
const firstPauseMs = 1_000;
const longestPauseMs = 10_000;
/** A list that reaches back so far and does not come in time, so often in a row, is taken for one that is too long. */
const longReachMs = 3_600_000;
const patience = 3;

/** The source `poll` of one Keystone. Asks nothing before it runs. */
export function createRevocationEvents(options: RevocationEventsOptions, deps: RevocationEventsDeps): NewsSource {
  return new RevocationEvents(options, deps);
}

class RevocationEvents implements NewsSource {
  readonly name = 'poll';
  readonly #options: RevocationEventsOptions;
  readonly #deps: RevocationEventsDeps;
  readonly #rows = new ListedRows();
  readonly #since = new SinceValues();
  readonly #looks = new WaitingLooks();
  readonly #others: OthersPolls;
  readonly #progress: PollProgress;
  readonly #sweeps: Sweeps;
  #isRunning = false;
  readonly #turns: PollTurns;
  /** When the next poll begins; monotonic. */
  #dueMs = 0;
  #provenMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #problem: SidecarError | undefined;
  #lastAnswerAtMs: number | undefined;

  constructor(options: RevocationEventsOptions, deps: RevocationEventsDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#others = new OthersPolls(deps);
    this.#progress = new PollProgress({ ...options, ...deps });
    this.#turns = new PollTurns({ ...options, ...deps, others: () => deps.shared?.poll.others() ?? 0 });
    this.#sweeps = new Sweeps(options, { ...deps, rows: this.#rows, since: this.#since, shared: deps.shared?.sweep });
  }

  health(): DependencyHealth {
    const lastAnswerAtMs = this.#lastAnswerAtMs;
    const problem = this.#problem?.message ?? (lastAnswerAtMs === undefined ? 'not asked yet' : this.#sweeps.problem);
    return {
      reachable: this.#problem === undefined && lastAnswerAtMs !== undefined,
      ...(problem === undefined ? {} : { problem }),
      ...(lastAnswerAtMs === undefined ? {} : { lastAnswerAtMs }),
    };
  }

  async run(sink: NewsSink, signal: AbortSignal): Promise<void> {
    const isWhole = await this.#progress.takeUp(signal);
    this.#isRunning = true;
    this.#deps.shared?.poll.listen((question) => this.#heard(question, sink), signal);
    await Promise.all([this.#pollOn(sink, signal), this.#sweeps.run(sink, isWhole ? this.#options.sweepMs : 0, signal)]);
    this.#isRunning = false;
    this.#looks.begin()(notRunning(this.#options.issuer));
  }

  /**
   * The poll that begins next, at once: one that is under way may have been answered before. While it has just failed and waits to be
   * tried again nobody is asked, and that is the answer. In a fleet one that another sidecar begins within a moment will do.
   */
  async look(signal: AbortSignal): Promise<void> {
    if (!this.#isRunning) throw notRunning(this.#options.issuer);
    if (this.#problem !== undefined) throw this.#problem;
    if (await this.#others.ask(signal)) return;
    if (!this.#isRunning) throw notRunning(this.#options.issuer);
    await this.#looks.next(signal);
  }

  async #pollOn(sink: NewsSink, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      const answer = this.#looks.begin();
      const beganMs = clock.monotonicMs();
      this.#turns.begin();
      const error = await this.#poll(sink, signal);
      this.#turns.end();
      this.#judge(signal.aborted ? this.#problem : error);
      answer(signal.aborted ? notRunning(this.#options.issuer) : error);
      // Who came meanwhile waits for the next one, unless nobody answers.
      if (error !== undefined) this.#looks.begin()(error);
      this.#dueMs = Math.max(clock.monotonicMs() + this.#untilNextMs(beganMs), this.#turns.notBeforeMs);
      await this.#untilDue(signal);
    }
  }

  /** Or until somebody wants a look. What others ask meanwhile puts it off. */
  async #untilDue(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const { over, forget } = this.#looks.until(signal);
    for (let leftMs = this.#dueMs - clock.monotonicMs(); leftMs > 0 && !over.aborted; leftMs = this.#dueMs - clock.monotonicMs()) {
      await clock.delay(leftMs, over).catch(() => undefined);
    }
    forget();
  }

  /** Another sidecar has asked, and what it was told is applied here. What it does not join on to is still to be asked for. */
  #heard(question: HeardQuestion, sink: NewsSink): void {
    const { clock } = this.#deps;
    const { sinceMs, provenMs, beganMs, isOfNow } = question;
    const nowMs = clock.monotonicMs();
    this.#since.spend(sinceMs, nowMs);
    if (!this.#progress.heard(question)) return;
    if (provenMs !== undefined) this.#prove(provenMs, sink);
    void this.#progress.note();
    if (!isOfNow) return;
    this.#lastAnswerAtMs = clock.nowMs();
    this.#judge(undefined);
    this.#others.came(beganMs);
    this.#turns.heard(question);
    this.#dueMs = Math.max(this.#dueMs, this.#turns.notBeforeMs);
  }

  /** One poll. Answers why it has failed. */
  async #poll(sink: NewsSink, signal: AbortSignal): Promise<SidecarError | undefined> {
    const { clock, list } = this.#deps;
    const { overlapMs, reachMs } = this.#options;
    const sentMs = clock.monotonicMs();
    const tellOthers = this.#deps.shared?.poll.begin();
    try {
      // Where clocks have been set back, what happens now has times of before the last poll.
      const fromMs = Math.min(this.#progress.fromMs, clock.nowMs());
      const sinceMs = this.#since.take(fromMs - overlapMs, sentMs);
      const answer = await list(sinceMs, signal);
      if (answer.kind === 'too-large') return this.#skip('is longer than limits.upstream_body');
      this.#lastAnswerAtMs = clock.nowMs();
      const listedAtMs = answer.dateMs ?? clock.nowMs();
      // Where one of Keystone's clocks is ahead, rows that others write would be older than where the next one begins.
      const nextFromMs = Math.min(listedAtMs, clock.nowMs());
      if (answer.clockOffsetMs !== undefined) sink.clockRead?.(answer.clockOffsetMs);
      await this.#rows.tell({ rows: answer.events, listedAtMs }, sink, signal);
      if (signal.aborted) return undefined;
      const wholeFromMs = this.#progress.asked(nextFromMs, sink);
      // What is lost to us may not be lost to others: they ask for themselves.
      if (this.#turns.answered() && wholeFromMs !== undefined) tellOthers?.({ fromMs: wholeFromMs, throughMs: nextFromMs, sinceMs });
      this.#rows.forgetBefore(nextFromMs - reachMs - overlapMs);
      this.#prove(sentMs, sink);
      await this.#progress.note();
      return undefined;
    } catch (cause) {
      const error = cause instanceof SidecarError ? cause : unavailable('what was listed could not be taken', 'NEWS_NOT_TAKEN', cause);
      const isLong = clock.nowMs() - this.#progress.fromMs > longReachMs && error.reason.endsWith('_TIMEOUT');
      return isLong && this.#failures + 1 >= patience ? this.#skip('does not come in time') : error;
    }
  }

  #prove(throughMs: number, sink: NewsSink): void {
    if (throughMs < this.#provenMs) return;
    this.#provenMs = throughMs;
    sink.proven(throughMs);
  }

  /** The next poll begins now, and says what was lost. */
  #skip(why: string): SidecarError {
    return unavailable(`Keystone "${this.#options.issuer}": ${this.#progress.skip(why)}`, 'NEWS_TOO_LONG');
  }

  /** A line for each change, not for each poll. */
  #judge(error: SidecarError | undefined): void {
    const { log } = this.#deps;
    const about = { issuer: this.#options.issuer, source: this.name };
    if (error !== undefined && error.reason !== this.#problem?.reason) log.warn({ ...about, reason: error.reason }, error.message);
    if (error === undefined && this.#problem !== undefined) log.info(about, 'the poll is answered again');
    this.#failures = error === undefined ? 0 : this.#failures + 1;
    this.#problem = error;
  }

  #untilNextMs(beganMs: number): number {
    const { clock, random } = this.#deps;
    const { everyMs } = this.#options;
    const jitter = 1 - 0.2 * random();
    // A Keystone that takes longer than that for an answer gets some rest.
    if (this.#problem === undefined) return Math.max(beganMs + everyMs * jitter - clock.monotonicMs(), everyMs / 4);
    const pauseMs = Math.min(firstPauseMs * 2 ** Math.min(this.#failures - 1, 10), longestPauseMs) * jitter;
    return Math.max(pauseMs, Math.min(this.#problem.retryAfterMs ?? 0, longestPauseMs));
  }
}

function notRunning(issuer: string): SidecarError {
  return unavailable(`the poll of "${issuer}" does not run`, 'NEWS_NOT_RUNNING');
}

function unavailable(message: string, reason: string, cause?: unknown): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason, ...(cause === undefined ? {} : { cause }) });
}
