// What is done with what the log tells, in its order: each part of a fleet hears what is its own.

import type { Polled, Presence } from '../../core/fleet-record.ts';
import type { Entry } from '../../core/invalidation.ts';
import type { Clock } from '../../ports.ts';
import type { SourceStanding } from '../source-standing.ts';
import { Wakeup } from '../wakeup.ts';
import type { Answering } from './answering.ts';
import type { Beats } from './beats.ts';
import type { Clocks } from './clocks.ts';
import type { Gaps } from './gaps.ts';
import type { Members } from './members.ts';
import type { Mending } from './mending.ts';
import type { Publishing } from './publishing.ts';
import type { ReadEntry, ReadingListener } from './reading.ts';
import type { Restored } from './restored.ts';
import type { RollCalls } from './roll-calls.ts';
import type { SharedQuestions } from './shared-questions.ts';

/** Who hears. */
export interface HearingParts {
  /** Of this sidecar: its journal, and this one run of it. */
  readonly journal: string;
  readonly run: string;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly maxLagMs: number;
  readonly standings: readonly SourceStanding[];
  readonly members: Members;
  readonly clocks: Clocks;
  readonly publishing: Publishing;
  readonly rollCalls: RollCalls;
  readonly beats: Beats;
  readonly mending: Mending;
  readonly answering: Answering;
  readonly gaps: Gaps;
  readonly restored: Restored;
  readonly questions: SharedQuestions;
  /** As in `FleetParts`. */
  readonly heard: (entry: Entry) => void;
}

/** The reader's one listener. */
export class Hearing implements ReadingListener {
  readonly #parts: HearingParts;
  readonly #progress = new Wakeup();
  #isCaughtUp = false;
  /** Over this connection a sign of life of ours has come back: it is the log that it was. */
  #isHeardHere = false;
  /** Monotonic: everything that was in the log then is applied here. */
  #provenMs = Number.NEGATIVE_INFINITY;

  constructor(parts: HearingParts) {
    this.#parts = parts;
  }

  /** Everything has been read once that the log had. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp;
  }

  get isHeardHere(): boolean {
    return this.#isHeardHere;
  }

  /** What is read is what is told now, not what was told a while ago. */
  get isCurrent(): boolean {
    const { clock, maxLagMs } = this.#parts;
    return clock.monotonicMs() - this.#provenMs <= maxLagMs / 2;
  }

  /** Resolves when it is caught up; rejects with the signal's reason when it aborts first. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    while (!this.#isCaughtUp) await this.#progress.wait(this.#progress.version, signal);
  }

  /** A connection begins. */
  begin(): void {
    this.#isHeardHere = false;
  }

  before(entries: readonly ReadEntry[]): Promise<void> {
    return this.#parts.restored.before(entries);
  }

  read(entries: readonly ReadEntry[]): void {
    const { journal, heard, publishing, mending, answering } = this.#parts;
    const ids = new Set(entries.map(({ id }) => id));
    for (const one of [mending, answering]) one.read(ids);
    publishing.brought(entries);
    for (const entry of entries) if (entry.from !== journal) heard(entry);
  }

  presence(presence: Presence, position: number): void {
    if (presence.journal === this.#parts.journal) this.#ofOurs(presence, position);
    else this.#ofAnother(presence);
  }

  polled(polled: Polled, position: number): void {
    this.#parts.questions.heard(polled, position);
  }

  notTheSame(how: 'trimmed' | 'anew', why: string): void {
    const { mending, questions, restored, beats } = this.#parts;
    mending.begin(how, why);
    questions.forget();
    restored.readAgain();
    if (how === 'trimmed') beats.ask();
  }

  missed(why: string): void {
    this.notTheSame('trimmed', why);
    // The log may have lost it: then it is missing to all, and may be ours.
    this.#parts.answering.ask();
  }

  hole(): void {
    this.#parts.gaps.say();
  }

  #ofAnother(presence: Presence): void {
    const { members, clocks, rollCalls, mending, answering, beats } = this.#parts;
    if (!members.saw(presence)) return;
    clocks.saw(presence);
    if (presence.isLeaving) rollCalls.left();
    mending.saw(presence);
    answering.saw(presence);
    beats.answer(presence.calls);
    rollCalls.answered(presence, presence.answers);
  }

  #ofOurs(presence: Presence, position: number): void {
    const { run, restored, beats, rollCalls, standings, mending, clocks, questions } = this.#parts;
    if (presence.run !== run) restored.saw(presence);
    const appendedMs = beats.cameBack(presence);
    rollCalls.cameBack(presence.calls);
    if (appendedMs === undefined) return;
    restored.cameBack();
    for (const standing of standings) standing.proven(appendedMs);
    mending.proven(appendedMs);
    clocks.cameBack(appendedMs);
    questions.proven({ position, appendedMs });
    this.#provenMs = Math.max(this.#provenMs, appendedMs);
    this.#isHeardHere = true;
    if (this.#isCaughtUp) return;
    this.#isCaughtUp = true;
    this.#progress.wake();
  }
}
