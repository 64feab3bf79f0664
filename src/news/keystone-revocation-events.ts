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
/** Whoever has asked goes on before those who have heard of it: they wait so much longer, at random; a part of the interval, and milliseconds. */
const othersWaitLonger = 0.5;
const othersWaitLongestMs = 1_000;
/** One that takes very long is waited for so much longer, at most, in milliseconds. */
const longestTakingMs = 5_000;
/**
 * How long a look waits, at random, whether another sidecar has the same question, in milliseconds: the more there are, the sooner the
 * first of them asks, and the longer the rest may wait for it.
 */
const shortestLookSpreadMs = 100;
const lookSpreadPerOtherMs = 20;
const longestLookSpreadMs = 1_000;
/** How far it has come is noted when it has come so much further: after a restart so much is asked for again. */
const noteEachMs = 10_000;
/** Keystone keeps its rows for [token] expiration + [revoke] expiration_buffer, of which the latter alone is 1,800 s. */
const keptThereMs = 1_800_000;
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
  readonly #sweeps: Sweeps;
  #isRunning = false;
  /** The next poll begins here, less the overlap: by Keystone's clock, or by ours where that is behind it. */
  #fromMs = 0;
  /** All until there has been told. */
  #isContinued = false;
  /** And all from there on, without a gap. */
  #wholeFromMs = 0;
  /** When the next poll begins, monotonic. */
  #dueMs = 0;
  #provenMs = Number.NEGATIVE_INFINITY;
  #notedMs = Number.NEGATIVE_INFINITY;
  /** What was never listed to us, in words. */
  #lost: string | undefined;
  #failures = 0;
  #problem: SidecarError | undefined;
  #lastAnswerAtMs: number | undefined;

  constructor(options: RevocationEventsOptions, deps: RevocationEventsDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#others = new OthersPolls(deps.clock);
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
    const isWhole = await this.#takeUp(signal);
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
    if (await this.#isAskedByAnother(signal)) return;
    if (!this.#isRunning) throw notRunning(this.#options.issuer);
    await this.#looks.next(signal);
  }

  async #isAskedByAnother(signal: AbortSignal): Promise<boolean> {
    const { shared, random } = this.#deps;
    const others = shared?.poll.others() ?? 0;
    if (others === 0) return false;
    const spreadMs = Math.min(longestLookSpreadMs, Math.max(shortestLookSpreadMs, others * lookSpreadPerOtherMs));
    return await this.#others.within(random() * spreadMs, signal);
  }

  /** Where the last run ended. Answers whether the first poll reaches back over a token's whole life. */
  async #takeUp(signal: AbortSignal): Promise<boolean> {
    const { clock, notes, log } = this.#deps;
    const { issuer, reachMs } = this.#options;
    const earliestMs = clock.nowMs() - reachMs;
    while (!signal.aborted) {
      try {
        const noted = Number(await notes.noted(noteName(issuer)));
        // Later than now: clocks have been set back, and nobody knows what it was by them.
        this.#isContinued = noted <= clock.nowMs();
        if (this.#isContinued) this.#notedMs = noted;
        this.#fromMs = Math.max(this.#notedMs, earliestMs);
        this.#wholeFromMs = this.#fromMs;
        return this.#fromMs === earliestMs;
      } catch (error) {
        log.error({ issuer, error }, 'how far the poll has come cannot be read; trying again');
        await clock.delay(firstPauseMs, signal).catch(() => undefined);
      }
    }
    return false;
  }

  async #pollOn(sink: NewsSink, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      const answer = this.#looks.begin();
      const beganMs = clock.monotonicMs();
      const error = await this.#poll(sink, signal);
      this.#judge(signal.aborted ? this.#problem : error);
      answer(signal.aborted ? notRunning(this.#options.issuer) : error);
      // Who came meanwhile waits for the next one, unless nobody answers.
      if (error !== undefined) this.#looks.begin()(error);
      this.#dueMs = clock.monotonicMs() + this.#untilNextMs(beganMs);
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
    const { clock, random } = this.#deps;
    const { fromMs, throughMs, sinceMs, provenMs, beganMs, tookMs, isOfNow } = question;
    const nowMs = clock.monotonicMs();
    this.#since.spend(sinceMs, nowMs);
    if (fromMs > this.#fromMs || this.#lost !== undefined) return;
    this.#fromMs = Math.max(this.#fromMs, throughMs);
    this.#isContinued = true;
    if (provenMs !== undefined) this.#prove(provenMs, sink);
    void this.#noteWhere();
    if (!isOfNow) return;
    this.#lastAnswerAtMs = clock.nowMs();
    this.#judge(undefined);
    this.#others.came(beganMs);
    const { everyMs } = this.#options;
    const longerMs = Math.min(everyMs * othersWaitLonger, othersWaitLongestMs) * random();
    this.#dueMs = Math.max(this.#dueMs, nowMs + everyMs + longerMs + Math.min(tookMs, longestTakingMs));
  }

  /** One poll. Answers why it has failed. */
  async #poll(sink: NewsSink, signal: AbortSignal): Promise<SidecarError | undefined> {
    const { clock, list } = this.#deps;
    const { overlapMs, reachMs } = this.#options;
    const sentMs = clock.monotonicMs();
    const tellOthers = this.#deps.shared?.poll.begin();
    try {
      // Where clocks have been set back, what happens now has times of before the last poll.
      const fromMs = Math.min(this.#fromMs, clock.nowMs());
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
      const isWhole = this.#admitWhatIsLost(nextFromMs, sink);
      this.#fromMs = nextFromMs;
      this.#isContinued = true;
      // What is lost to us may not be lost to others: they ask for themselves.
      if (isWhole) tellOthers?.({ fromMs: Math.min(this.#wholeFromMs, fromMs), throughMs: nextFromMs, sinceMs });
      else this.#wholeFromMs = nextFromMs;
      this.#rows.forgetBefore(nextFromMs - reachMs - overlapMs);
      this.#prove(sentMs, sink);
      await this.#noteWhere();
      return undefined;
    } catch (cause) {
      const error = cause instanceof SidecarError ? cause : unavailable('what was listed could not be taken', 'NEWS_NOT_TAKEN', cause);
      const isLong = clock.nowMs() - this.#fromMs > longReachMs && error.reason.endsWith('_TIMEOUT');
      return isLong && this.#failures + 1 >= patience ? this.#skip('does not come in time') : error;
    }
  }

  #prove(throughMs: number, sink: NewsSink): void {
    if (throughMs < this.#provenMs) return;
    this.#provenMs = throughMs;
    sink.proven(throughMs);
  }

  /** What has been revoked since is more than can be read: the next poll begins now, and what lies between is lost. */
  #skip(why: string): SidecarError {
    this.#lost = `the list of revocation events since the last poll ${why}`;
    this.#fromMs = this.#deps.clock.nowMs();
    return unavailable(`Keystone "${this.#options.issuer}": ${this.#lost}`, 'NEWS_TOO_LONG');
  }

  /** Answers whether nothing is. */
  #admitWhatIsLost(nextFromMs: number, sink: NewsSink): boolean {
    const pauseMs = nextFromMs - this.#fromMs;
    // Keystone itself may have forgotten rows by now. Facts that are younger than the pause know of them.
    if (this.#isContinued && pauseMs > keptThereMs && this.#options.factsLifeMs > pauseMs) {
      this.#lost ??= 'the poll has been away for longer than Keystone keeps its revocation events';
    }
    // It is on disk before how far the poll has come: the journal keeps the order.
    const isWhole = this.#lost === undefined;
    if (this.#lost !== undefined) void sink.gap(this.#lost);
    this.#lost = undefined;
    return isWhole;
  }

  async #noteWhere(): Promise<void> {
    const { notes, log } = this.#deps;
    const atMs = this.#fromMs;
    if (Math.abs(atMs - this.#notedMs) < noteEachMs) return;
    try {
      await notes.note(noteName(this.#options.issuer), String(atMs));
      this.#notedMs = atMs;
    } catch (error) {
      // The journal itself says that it cannot be written. After a restart more is asked for again.
      log.debug({ issuer: this.#options.issuer, error }, 'how far the poll has come was not noted');
    }
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

/** In the journal: all until then, by Keystone's clock, has been told. */
const noteName = (issuer: string): string => `polled/${issuer}`;

function notRunning(issuer: string): SidecarError {
  return unavailable(`the poll of "${issuer}" does not run`, 'NEWS_NOT_RUNNING');
}

function unavailable(message: string, reason: string, cause?: unknown): SidecarError {
  return new SidecarError('UNAVAILABLE', message, { reason, ...(cause === undefined ? {} : { cause }) });
}
