// When the log is not what it was: what may be missing in it, or here, and until when that is said (S13, S14).

import type { Presence } from '../../core/fleet-record.ts';
import type { Entry } from '../../core/invalidation.ts';
import type { Clock, Journal, LogLink, Telemetry } from '../../ports.ts';
import type { Invalidations } from '../invalidations.ts';
import type { SourceStanding } from '../source-standing.ts';
import { backoffMs } from '../telling/backoff.ts';
import { Wakeup } from '../wakeup.ts';
import type { Beats } from './beats.ts';
import type { Members } from './members.ts';
import type { Publishing } from './publishing.ts';

/** What mending needs. */
export interface MendingParts {
  readonly journal: Pick<Journal, 'note' | 'noted'>;
  readonly invalidations: Pick<Invalidations, 'append'>;
  readonly publishing: Pick<Publishing, 'tellAgain'>;
  readonly members: Members;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly random: () => number;
  /** Of the log, for each issuer. */
  readonly standings: readonly Pick<SourceStanding, 'gapUntil'>[];
  readonly maxLagMs: number;
  readonly wideWindowMs: number;
  readonly refreshLifeMs: number;
  /** The others may not have heard yet that they are to tell what is theirs once more, or could not be heard here. */
  readonly isAsking: () => boolean;
  readonly stop: AbortSignal;
}

/** `open`: the log was made again, and does not hold what the journal does. `trimmed`: not everything has been asked about again. */
const note = 'fleet-mending';
/** `open`: somebody has asked for what is ours, and has not been told it yet. */
const askedNote = 'fleet-asked';
/** Between two looks whether it is over. */
const lookMs = 1_000;
/** All notice at once: each waits so long at random before it tells, and leaves out what others have told meanwhile. */
const longestWaitMs = 1_000;
/** Questions that have been answered. */
const mostAsked = 1_000;

/** The state of one sidecar's log. */
export class Mending {
  readonly #parts: MendingParts;
  readonly #changed = new Wakeup();
  /** The log was made again: what it holds, as far as it has been read. */
  #inLog: Set<string> | undefined;
  /** Monotonic: since when it is read from the oldest. */
  #sinceMs = 0;
  #isReplayed = false;
  /** Who was there when it was noticed, and has not said that the log holds what is theirs. */
  readonly #awaited = new Set<string>();
  #hasHole = false;
  #generation = 0;
  readonly #asked = new Set<string>();
  /** Somebody has asked for what is ours, and has not been told it yet. */
  #isAsked = false;
  /** How often something may have been missed, and of those how many have been asked about again. */
  #begun = 0;
  #closed = 0;

  constructor(parts: MendingParts) {
    this.#parts = parts;
  }

  /** What a run before has not done with. */
  async load(): Promise<'anew' | 'trimmed' | undefined> {
    const { journal } = this.#parts;
    this.#isAsked = (await journal.noted(askedNote)) === 'open';
    const noted = await journal.noted(note);
    if (noted === 'open') return 'anew';
    return noted === 'trimmed' ? 'trimmed' : undefined;
  }

  /** What the journal holds is in the log. */
  get isWhole(): boolean {
    return this.#inLog === undefined;
  }

  /** How often it was made again, as far as was noticed. */
  get generation(): number {
    return this.#generation;
  }

  /** Something of what members hold may not be in the log, or be nothing that can be read here. */
  get isDoubtful(): boolean {
    return this.#isDoubtful();
  }

  /** Resolves when the log holds what the journal does; rejects with the signal's reason when it aborts first. */
  async whole(signal: AbortSignal): Promise<void> {
    while (!this.isWhole) await this.#changed.wait(this.#changed.version, signal);
  }

  /** The log was made again, or has told what was never read here. Everything is asked about again, spread, and that is said. */
  begin(how: 'trimmed' | 'anew', why: string): void {
    const { telemetry, members, clock } = this.#parts;
    telemetry.log.warn(
      { how, why },
      'the log of the fleet is not what it was: it is read from the oldest, and everything is asked about again',
    );
    telemetry.counter('sidegate_fleet_gaps_total', { how }).add();
    if (how === 'anew') {
      this.#generation += 1;
      this.#inLog = new Set();
      this.#isReplayed = false;
      this.#sinceMs = clock.monotonicMs();
      for (const { journal } of members.present()) this.#awaited.add(journal);
    }
    this.#begun += 1;
    this.#noteIt();
    this.#sayGap();
    this.#refreshAll(why).catch((error: unknown) => telemetry.log.debug({ error }, 'we stop before everything was asked about again'));
  }

  /** Something in the log cannot be read here. */
  hole(): void {
    this.#hasHole = true;
    this.#sayGap();
  }

  /** These ids are in the log. */
  read(ids: ReadonlySet<string>): void {
    if (this.#inLog) for (const id of ids) this.#inLog.add(id);
  }

  /** A member's sign of life. */
  saw({ journal, isWhole, isLeaving, asks }: Presence): void {
    if (isWhole || isLeaving) this.#awaited.delete(journal);
    if (asks === undefined || this.#asked.has(asks)) return;
    const [oldest] = this.#asked;
    if (this.#asked.size >= mostAsked && oldest !== undefined) this.#asked.delete(oldest);
    this.#asked.add(asks);
    this.#isAsked = true;
    // Before where we have read to: whoever asks is not heard a second time.
    this.#note(askedNote, 'open');
    this.#changed.wake();
  }

  /** Everything that was in the log at `throughMs` (monotonic) has been read. */
  proven(throughMs: number): void {
    if (this.#inLog === undefined || this.#isReplayed || throughMs < this.#sinceMs) return;
    this.#isReplayed = true;
    this.#changed.wake();
  }

  /** Tells the log what it lacks, and what somebody asks for, until `signal` aborts. */
  async run(link: LogLink, beats: Pick<Beats, 'hurry'>, signal: AbortSignal): Promise<void> {
    const { clock, random, publishing, telemetry } = this.#parts;
    try {
      while (!signal.aborted) {
        const seen = this.#changed.version;
        const inLog = this.#isReplayed ? this.#inLog : undefined;
        if (inLog) {
          await clock.delay(random() * longestWaitMs, signal);
          const count = await publishing.tellAgain(link, ({ id }: Entry) => !inLog.has(id), signal);
          telemetry.log.info({ count }, 'the log of the fleet holds what this journal does');
          if (this.#inLog === inLog) this.#end();
          beats.hurry();
        } else if (this.#isAsked) {
          await this.#tellOurs(link, signal);
        } else {
          await this.#changed.wait(seen, signal);
        }
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Says that there is a gap for as long as there is one. Until `stop` aborts. */
  async watch(): Promise<void> {
    const { clock, stop } = this.#parts;
    while (!stop.aborted) {
      if (this.#isDoubtful()) this.#sayGap();
      await clock.delay(lookMs, stop).catch(() => undefined);
    }
  }

  #isDoubtful(): boolean {
    if (this.#hasHole || !this.isWhole) return true;
    const present = this.#parts.members.present();
    const there = new Set(present.map(({ journal }) => journal));
    for (const journal of this.#awaited) if (!there.has(journal)) this.#awaited.delete(journal);
    return this.#awaited.size > 0 || present.some(({ isWhole }) => !isWhole);
  }

  async #tellOurs(link: LogLink, signal: AbortSignal): Promise<void> {
    const { publishing, telemetry } = this.#parts;
    this.#isAsked = false;
    try {
      const count = await publishing.tellAgain(link, ({ from }: Entry) => from === undefined, signal);
      telemetry.log.info({ count }, 'a sidecar may have missed something: what was first revoked here is told again');
      if (!this.#isAsked) this.#note(askedNote, '');
    } catch (error) {
      this.#isAsked = true;
      throw error;
    }
  }

  /** For so long that whoever is stopped meanwhile is either within it or behind, when it goes on. */
  #sayGap(): void {
    const { clock, maxLagMs } = this.#parts;
    const untilMs = clock.monotonicMs() + maxLagMs + 3 * lookMs;
    for (const standing of this.#parts.standings) standing.gapUntil(untilMs);
  }

  #end(): void {
    this.#inLog = undefined;
    this.#isReplayed = false;
    this.#changed.wake();
    this.#noteIt();
  }

  #noteIt(): void {
    const leftOver = this.#closed < this.#begun ? 'trimmed' : '';
    this.#note(note, this.isWhole ? leftOver : 'open');
  }

  #note(name: string, value: string): void {
    const { journal, telemetry } = this.#parts;
    // Where nothing can be written, the journal says so itself, and acknowledges nothing.
    journal.note(name, value).catch((error: unknown) => telemetry.log.debug({ error }, 'how the log is was not noted'));
  }

  async #refreshAll(why: string): Promise<void> {
    const { invalidations, wideWindowMs, refreshLifeMs, clock, random, standings, isAsking, stop } = this.#parts;
    const nth = this.#begun;
    for (let failures = 0; ; ) {
      try {
        await invalidations.append(
          {
            effect: 'REFRESH',
            selector: { kind: 'everything' },
            spreadMs: wideWindowMs,
            lifeMs: refreshLifeMs + 2 * wideWindowMs,
            origin: { source: 'fleet', event: 'gap', reason: why },
          },
          undefined,
          stop,
        );
        break;
      } catch (error) {
        if (stop.aborted) throw error;
        failures += 1;
        await clock.delay(backoffMs(failures, 0, random), stop);
      }
    }
    // The one that runs, and one that trails it; and once more where those who are to tell what is theirs have heard of it only then, or
    // have not been heard all the while.
    for (let wasAsking = true; wasAsking || isAsking(); ) {
      wasAsking = isAsking();
      for (const standing of standings) standing.gapUntil(clock.monotonicMs() + 2 * wideWindowMs + lookMs);
      await clock.delay(2 * wideWindowMs, stop);
    }
    this.#closed = Math.max(this.#closed, nth);
    this.#noteIt();
  }
}
