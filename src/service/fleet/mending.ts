// When the log is not what it was: what may be missing in it, which is told once more (S13, S14).

import type { Presence } from '../../core/fleet-record.ts';
import type { Entry } from '../../core/invalidation.ts';
import type { Clock, Journal, Telemetry } from '../../ports.ts';
import { Wakeup } from '../wakeup.ts';
import type { LogWriter } from './appending.ts';
import type { Beats } from './beats.ts';
import type { Gaps } from './gaps.ts';
import type { Members } from './members.ts';
import type { Publishing } from './publishing.ts';

/** What mending needs. */
export interface MendingParts {
  readonly journal: Pick<Journal, 'note' | 'noted'>;
  readonly publishing: Pick<Publishing, 'tellAgain'>;
  readonly members: Members;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly random: () => number;
  readonly gaps: Gaps;
  /** Something in the log cannot be read here. */
  readonly hasHole: () => boolean;
}

/** `open`: the log was made again, and does not hold what the journal does. `trimmed`: not everything has been asked about again. */
const note = 'fleet-mending';
/** All notice at once: each waits so long at random before it tells, and leaves out what others have told meanwhile. */
const longestWaitMs = 1_000;
/** Ids of the log that are kept meanwhile: of more, the oldest are told once more for nothing. */
const mostInLog = 1_000_000;

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
  #generation = 0;

  constructor(parts: MendingParts) {
    this.#parts = parts;
  }

  /** What a run before has not done with. */
  async load(): Promise<'anew' | 'trimmed' | undefined> {
    const noted = await this.#parts.journal.noted(note);
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
    if (this.#parts.hasHole() || !this.isWhole) return true;
    const present = this.#parts.members.present();
    const there = new Set(present.map(({ journal }) => journal));
    for (const journal of this.#awaited) if (!there.has(journal)) this.#awaited.delete(journal);
    return this.#awaited.size > 0 || present.some(({ isWhole }) => !isWhole);
  }

  /** Resolves when the log holds what the journal does; rejects with the signal's reason when it aborts first. */
  async whole(signal: AbortSignal): Promise<void> {
    while (!this.isWhole) await this.#changed.wait(this.#changed.version, signal);
  }

  /** The log was made again, or has told what was never read here. Everything is asked about again, spread, and that is said. */
  begin(how: 'trimmed' | 'anew', why: string): void {
    const { telemetry, members, clock, gaps } = this.#parts;
    telemetry.log.warn({ how, why }, 'the log of the fleet is not what it was: everything is asked about again');
    telemetry.counter('sidegate_fleet_gaps_total', { how }).add();
    if (how === 'anew') {
      this.#generation += 1;
      this.#inLog = new Set();
      this.#isReplayed = false;
      this.#sinceMs = clock.monotonicMs();
      for (const { journal } of members.present()) this.#awaited.add(journal);
    }
    gaps.begin(why, () => this.#noteIt());
    this.#noteIt();
  }

  /** These ids are in the log. */
  read(ids: ReadonlySet<string>): void {
    if (this.#inLog === undefined) return;
    for (const id of ids) this.#inLog.add(id);
    for (const oldest of this.#inLog) {
      if (this.#inLog.size <= mostInLog) break;
      this.#inLog.delete(oldest);
    }
  }

  /** A member's sign of life. */
  saw({ journal, isWhole, isLeaving }: Presence): void {
    if (isWhole || isLeaving) this.#awaited.delete(journal);
  }

  /** Everything that was in the log at `throughMs` (monotonic) has been read. */
  proven(throughMs: number): void {
    if (this.#inLog === undefined || this.#isReplayed || throughMs < this.#sinceMs) return;
    this.#isReplayed = true;
    this.#changed.wake();
  }

  /** Tells the log what it lacks, until `signal` aborts; rejects where the log does not take it. */
  async run(log: LogWriter, beats: Pick<Beats, 'hurry'>, signal: AbortSignal): Promise<void> {
    const { clock, random, publishing, telemetry } = this.#parts;
    try {
      while (!signal.aborted) {
        const seen = this.#changed.version;
        const inLog = this.#isReplayed ? this.#inLog : undefined;
        if (inLog === undefined) {
          await this.#changed.wait(seen, signal);
          continue;
        }
        await clock.delay(random() * longestWaitMs, signal);
        const count = await publishing.tellAgain(log, ({ id }: Entry) => !inLog.has(id), signal);
        telemetry.log.info({ count }, 'the log of the fleet holds what this journal does');
        if (this.#inLog === inLog) this.#end();
        beats.hurry();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #end(): void {
    this.#inLog = undefined;
    this.#isReplayed = false;
    this.#changed.wake();
    this.#noteIt();
  }

  #noteIt(): void {
    const { journal, telemetry, gaps } = this.#parts;
    const leftOver = gaps.isOpen ? 'trimmed' : '';
    // Where nothing can be written, the journal says so itself, and acknowledges nothing.
    journal
      .note(note, this.isWhole ? leftOver : 'open')
      .catch((error: unknown) => telemetry.log.debug({ error }, 'how the log is was not noted'));
  }
}
