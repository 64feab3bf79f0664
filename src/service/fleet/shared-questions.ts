// Questions that one sidecar asks for the whole fleet: told in the log when all that they brought is there, so that the others need not ask (S11).

import type { Polled } from '../../core/fleet-record.ts';
import type { Clock, HeardQuestion, LogLink, SharedQuestion, ToldQuestion } from '../../ports.ts';
import { orAborted } from '../wakeup.ts';

/** Where the log is read, over which connection. */
export interface Place {
  readonly link: LogLink;
  /** Everything up to there has been read. */
  readonly position: number;
}

/** This sidecar's side of the log. */
export interface LogSide {
  /** Of this sidecar. */
  readonly journal: string;
  /** The log holds what members have told, and all of it can be read here. */
  isSound(): boolean;
  /** It reads what is told now. */
  isCurrent(): boolean;
  /** How many others are there. */
  others(): number;
  /** Undefined: nobody reads. */
  place(): Place | undefined;
  /** Resolves when all that is applied here is in the log; rejects with the signal's reason. */
  told(signal: AbortSignal): Promise<void>;
  /**
   * Appends it over `link` when all that is applied here is in the log; not at all where that is not sound then, or another connection.
   * Rejects where the connection ends.
   */
  tell(polled: () => Polled, link: LogLink): Promise<void>;
}

/** What they are judged by. */
export interface SharedQuestionsParts {
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  /** Between our hosts. */
  readonly skewMs: number;
  readonly maxLagMs: number;
}

/** Ends with its connection. */
type Telling = () => Promise<void>;

type Take = (question: HeardQuestion) => void;

/** Of our own signs of life, at a distance: a question that is told of later than after so many of them proves nothing. */
const mostOwn = 64;
const ownDistanceMs = 250;
/** What is told of it has no times of anybody's clock: the order of the log is all that counts. Whoever hears it is not chosen by us. */
const timeless = 'bus';
/** Who was heard of longest ago is forgotten first. */
const mostTellers = 10_000;

/** Those of one sidecar, whether it has a fleet or not. */
export class SharedQuestions {
  readonly #parts: SharedQuestionsParts;
  readonly #takers = new Map<string, Set<Take>>();
  /** Of each kind that is being told, what is to be told next. */
  readonly #telling = new Map<string, Telling | undefined>();
  /** Who has told of which kind. */
  readonly #tellers = new Set<string>();
  #side: LogSide | undefined;
  /** Our own signs of life: where they stand, and when they were appended (monotonic). */
  #own: readonly { readonly position: number; readonly appendedMs: number }[] = [];

  constructor(parts: SharedQuestionsParts) {
    this.#parts = parts;
  }

  /** From now on there is a fleet. */
  join(side: LogSide): void {
    this.#side = side;
  }

  /** What is asked of `source` at `issuer`. */
  of(issuer: string, source: string): SharedQuestion {
    const name = `${issuer}/${source}`;
    return {
      others: () => (this.#side?.isSound() && this.#side.isCurrent() ? this.#side.others() : 0),
      isCurrent: () => this.#side?.isCurrent() ?? false,
      hasTold: (journal) => journal === this.#side?.journal || this.#tellers.has(`${name} ${journal}`),
      begin: () => this.#begin(issuer, source),
      listen: (take, signal) => {
        const takers = this.#takers.get(name) ?? new Set();
        this.#takers.set(name, takers.add(take));
        signal.addEventListener('abort', () => takers.delete(take), { once: true });
        if (signal.aborted) takers.delete(take);
      },
    };
  }

  /** Resolves when all that is applied here is in the log; rejects with the signal's reason. Without a fleet nobody is told. */
  async told(signal: AbortSignal): Promise<void> {
    await (this.#side?.told(signal) ?? orAborted(new Promise<never>(() => undefined), signal));
  }

  /** A sign of life of ours has come back. */
  proven(own: { readonly position: number; readonly appendedMs: number }): void {
    const last = this.#own.at(-1);
    if (last && own.appendedMs - last.appendedMs < ownDistanceMs) return;
    this.#own = [...this.#own, own].slice(-mostOwn);
  }

  /** It is another log: positions in it say nothing of those before. */
  forget(): void {
    this.#own = [];
  }

  /** A record, read at `position`. */
  heard(polled: Polled, position: number): void {
    const { clock, skewMs, maxLagMs } = this.#parts;
    const { journal, issuer, source, atMs, tookMs, fromMs, throughMs, sinceMs, after, isSuspect = false } = polled;
    const takers = this.#takers.get(`${issuer}/${source}`);
    this.#remember(`${issuer}/${source} ${journal}`);
    const side = this.#side;
    if (!takers?.size || !side?.isSound() || journal === side.journal || after >= position) return;
    const [nowMs, monotonicMs] = [clock.nowMs(), clock.monotonicMs()];
    // What is from the future was told by a clock that is off, and nobody knows what else is by it.
    if (source !== timeless && (atMs > nowMs + skewMs || throughMs > nowMs + skewMs)) return;
    // Two machines' clocks may differ; how long it took is told by one alone.
    const beganMs = monotonicMs - Math.max(0, nowMs - atMs, tookMs);
    // Whoever asked had read a sign of life of ours when it began: so it began after that was appended. No clock but ours says so.
    const readMs = this.#own.findLast((own) => own.position <= after)?.appendedMs;
    const isYoung =
      source === timeless ? readMs !== undefined && monotonicMs - readMs <= maxLagMs : nowMs - atMs <= skewMs + tookMs + maxLagMs;
    // What is told of late proves nothing: in a log that was made again its place may be anybody's, who had it from the one before.
    const provenMs = isYoung ? readMs : undefined;
    const times = { fromMs, throughMs, sinceMs, beganMs, tookMs: Math.max(0, tookMs) };
    const question: HeardQuestion = { ...times, isOfNow: side.isCurrent() && isYoung, isSuspect };
    for (const take of takers) take(provenMs === undefined ? question : { ...question, provenMs });
  }

  #remember(teller: string): void {
    this.#tellers.delete(teller);
    this.#tellers.add(teller);
    const [oldest] = this.#tellers;
    if (this.#tellers.size > mostTellers && oldest !== undefined) this.#tellers.delete(oldest);
  }

  #begin(issuer: string, source: string): (told: ToldQuestion) => void {
    const { clock } = this.#parts;
    const side = this.#side;
    const place = side?.place();
    const [atMs, beganMs] = [clock.nowMs(), clock.monotonicMs()];
    return ({ isSuspect = false, ...told }) => {
      if (side === undefined || place === undefined) return;
      const { link, position: after } = place;
      const polled = (): Polled => {
        const common = { journal: side.journal, issuer, source, atMs, tookMs: clock.monotonicMs() - beganMs, ...told, after };
        return isSuspect ? { ...common, isSuspect } : common;
      };
      void this.#tell(`${issuer}/${source}`, () => side.tell(polled, link));
    };
  }

  /** One at a time: what comes meanwhile tells all that the one before it would. Where the log does not take it, the others ask for themselves. */
  async #tell(name: string, telling: Telling): Promise<void> {
    if (this.#telling.has(name)) {
      this.#telling.set(name, telling);
      return;
    }
    for (let next: Telling | undefined = telling; next !== undefined; next = this.#telling.get(name)) {
      this.#telling.set(name, undefined);
      await next().catch(() => undefined);
    }
    this.#telling.delete(name);
  }
}
