// A fleet: this sidecar's journal and a log that others share, both ways; who else is there; and how far an entry has gone.

import { type Polled, recordKeyOf } from '../../core/fleet-record.ts';
import type { Entry, Revision } from '../../core/invalidation.ts';
import type { DeploymentKey, Tagger } from '../../core/tag.ts';
import type { Clock, DependencyHealth, Engine, Journal, LogLink, Telemetry } from '../../ports.ts';
import { type Degradations, fleetSource } from '../degradation.ts';
import type { Invalidations } from '../invalidations.ts';
import type { Issuer } from '../issuer.ts';
import { Answering } from './answering.ts';
import { Appending, type LogWriter } from './appending.ts';
import { Beats } from './beats.ts';
import { type ClockDifference, Clocks } from './clocks.ts';
import { Gaps } from './gaps.ts';
import { Hearing } from './hearing.ts';
import { Members } from './members.ts';
import { Mending } from './mending.ts';
import { Publishing } from './publishing.ts';
import { type Reached, Reaching } from './reaching.ts';
import { Reading } from './reading.ts';
import { Restored } from './restored.ts';
import { RollCalls } from './roll-calls.ts';
import type { Place, SharedQuestions } from './shared-questions.ts';
import { endingWith, together } from './together.ts';

/** What a fleet needs. */
export interface FleetParts {
  readonly engine: Engine;
  /** Of this sidecar. */
  readonly name: string;
  readonly journal: Journal;
  readonly invalidations: Invalidations;
  readonly degradations: Pick<Degradations, 'addSource' | 'clockDiffers'>;
  readonly issuers: readonly Issuer[];
  readonly tagger: Tagger;
  /** Newest first. */
  readonly keys: readonly [DeploymentKey, ...DeploymentKey[]];
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly random: () => number;
  readonly maxLagMs: number;
  /** How far two clocks of our hosts may be apart. */
  readonly skewMs: number;
  readonly wideWindowMs: number;
  readonly refreshLifeMs: number;
  /** What sidecars ask for each other. */
  readonly questions: SharedQuestions;
  /** Is told of each entry of the log that another sidecar has made, when it is applied here. */
  readonly heard: (entry: Entry) => void;
  /** How long an entry may matter. */
  readonly retentionMs: number;
  /** Labels of keys under which records are nobody's. */
  readonly ignoredKeys: readonly string[];
  /** Whatever runs or waits then ends. */
  readonly stop: AbortSignal;
}

/** How it is. */
export interface FleetStatus {
  readonly engine: string;
  readonly health: DependencyHealth;
  /** Others that are there. */
  readonly members: readonly { readonly name: string; readonly journal: string }[];
  readonly outbox: { readonly count: number; readonly oldestAtMs: number | undefined };
}

/** How long a goodbye may take, in milliseconds. */
const longestGoodbyeMs = 500;

/** One sidecar's side of it. */
export class Fleet {
  readonly #parts: FleetParts;
  readonly #members: Members;
  readonly #rollCalls: RollCalls;
  readonly #publishing: Publishing;
  readonly #beats: Beats;
  readonly #gaps: Gaps;
  readonly #mending: Mending;
  readonly #answering: Answering;
  readonly #hearing: Hearing;
  readonly #reading: Reading;
  readonly #reaching: Reaching;
  readonly #appending: Appending;
  /** Of the connection that stands. */
  #session: { readonly link: LogLink; readonly log: LogWriter } | undefined;

  constructor(parts: FleetParts) {
    const { journal, clock, telemetry, maxLagMs, degradations, issuers, keys, questions } = parts;
    this.#parts = parts;
    const standings = issuers.map((issuer) => degradations.addSource({ issuer: issuer.name, name: fleetSource }));
    const appending = new Appending(recordKeyOf(keys[0]));
    const { run } = appending;
    const members = new Members({ clock, leaseMs: maxLagMs });
    const judged = (isOff: boolean, details: ClockDifference): void => {
      for (const { name } of issuers) degradations.clockDiffers(name, 'fleet', isOff, details);
    };
    const publishing = new Publishing(parts);
    const rollCalls = new RollCalls({ members, clock, hurry: () => beats.hurry() });
    const gaps = new Gaps({ ...parts, standings, isAsking: () => beats.isAsking || !hearing.isCurrent });
    const mending = new Mending({ ...parts, publishing, members, gaps, hasHole: () => reading.hasHole });
    const answering = new Answering({ ...parts, publishing, members, whole: (signal) => mending.whole(signal) });
    const beats = new Beats({ ...parts, run, members, rollCalls, isWhole: () => mending.isWhole });
    const hearing = new Hearing({
      ...parts,
      ...{ standings, members, publishing, rollCalls, beats, mending, answering, gaps, run },
      journal: journal.id,
      clocks: new Clocks({ ...parts, members, judged }),
      restored: new Restored(parts),
    });
    const reading = new Reading({
      ...parts,
      keys: keys.map(recordKeyOf),
      leaseMs: 2 * maxLagMs,
      isOfNow: (count) => appending.isOfNow(count),
      listener: hearing,
    });
    this.#appending = appending;
    this.#members = members;
    this.#publishing = publishing;
    this.#rollCalls = rollCalls;
    this.#gaps = gaps;
    this.#mending = mending;
    this.#answering = answering;
    this.#beats = beats;
    this.#hearing = hearing;
    this.#reading = reading;
    this.#reaching = new Reaching({ clock, members, publishing, mending, rollCalls });
    questions.join({
      journal: journal.id,
      isSound: () => !mending.isDoubtful,
      isCurrent: () => hearing.isCurrent,
      others: () => members.count,
      place: () => this.#place(),
      told: (signal) => publishing.toldAll(parts.invalidations.applied, signal),
      tell: (polled, link) => this.#tellPolled(polled, link),
    });
    telemetry.gauge('sidegate_fleet_members', {}, () => members.count);
    telemetry.gauge('sidegate_fleet_outbox', {}, () => publishing.waiting().count);
    telemetry.gauge('sidegate_fleet_outbox_oldest_seconds', {}, () => {
      const { oldestAtMs } = publishing.waiting();
      return oldestAtMs === undefined ? 0 : Math.max(0, clock.nowMs() - oldestAtMs) / 1000;
    });
  }

  /** What a run before has left. */
  async load(): Promise<void> {
    for (const one of [this.#publishing, this.#reading, this.#answering]) await one.load();
    const left = await this.#mending.load();
    if (left === undefined) return;
    if (left === 'anew') this.#reading.forget();
    this.#hearing.notTheSame(left, 'the sidecar ended before it was done with what the log may lack, or may have told');
  }

  /** It has read everything once that the log had. */
  get isCaughtUp(): boolean {
    return this.#hearing.isCaughtUp;
  }

  /** Resolves when it has; rejects with the signal's reason when it aborts first. */
  caughtUp(signal: AbortSignal): Promise<void> {
    return this.#hearing.caughtUp(signal);
  }

  /** Exchanges entries until `signal` aborts, and says goodbye then. */
  async run(signal: AbortSignal): Promise<void> {
    const gone = new AbortController();
    await endingWith([signal], async ({ signal: leaving }) => {
      // Where no connection stands there is nobody to say goodbye to.
      const leave = (): void => {
        if (this.#session === undefined) gone.abort();
      };
      leaving.addEventListener('abort', leave, { once: true });
      if (leaving.aborted) leave();
      const session = async (link: LogLink): Promise<void> => {
        try {
          await this.#exchange(link, leaving);
        } finally {
          if (leaving.aborted) gone.abort();
        }
      };
      await Promise.all([this.#parts.engine.run(session, gone.signal), this.#gaps.watch(() => this.#mending.isDoubtful)]);
    });
  }

  /**
   * How far everything of ours up to `wanted` has gone: waits until it is as far as `until`, at the latest until `signal` aborts. `fleet`:
   * nobody answers from before it without saying that it is degraded.
   */
  reach(wanted: Revision, until: 'shared' | 'fleet', signal: AbortSignal): Promise<Reached> {
    return this.#reaching.reach(wanted, until, signal);
  }

  status(): FleetStatus {
    const { engine } = this.#parts;
    return {
      engine: engine.name,
      health: engine.health(),
      members: this.#members.present().map(({ name, journal }) => ({ name, journal })),
      outbox: this.#publishing.waiting(),
    };
  }

  /** Over one connection. */
  async #exchange(link: LogLink, leaving: AbortSignal): Promise<void> {
    const log = this.#appending.over(link);
    this.#session = { link, log };
    this.#hearing.begin();
    const tasks = [
      (over: AbortSignal) => this.#publishing.run(log, over),
      (over: AbortSignal) => this.#beats.beat(log, over),
      (over: AbortSignal) => this.#reading.run(link, () => this.#beats.confirmed, over),
      (over: AbortSignal) => this.#mending.run(log, this.#beats, over),
      (over: AbortSignal) => this.#answering.run(log, over),
    ];
    try {
      await together(tasks, [link.signal, leaving]);
      if (leaving.aborted && !link.signal.aborted) await this.#sayGoodbye(log);
    } finally {
      this.#session = undefined;
      this.#rollCalls.lost();
    }
  }

  async #sayGoodbye(log: LogWriter): Promise<void> {
    const { clock } = this.#parts;
    await endingWith([], (over) =>
      Promise.race([this.#beats.leave(log), clock.delay(longestGoodbyeMs, over.signal).catch(() => undefined)]),
    );
  }

  #place(): Place | undefined {
    const { position } = this.#reading;
    return this.#session && this.#hearing.isHeardHere && position !== undefined ? { link: this.#session.link, position } : undefined;
  }

  /** What was told must be in this log, before that it was: over a connection that has ended it may be another one. */
  async #tellPolled(polled: () => Polled, link: LogLink): Promise<void> {
    await this.#publishing.toldAll(this.#parts.invalidations.applied, link.signal);
    const session = this.#session;
    if (session?.link !== link || !this.#hearing.isCurrent || this.#mending.isDoubtful) return;
    await session.log.append({ kind: 'polled', polled: polled() });
  }
}
