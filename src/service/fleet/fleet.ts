// A fleet: this sidecar's journal and a log that others share, both ways; who else is there; and how far an entry has gone.

import { type Polled, type Presence, type RecordKey, recordKeyOf, sealRecord } from '../../core/fleet-record.ts';
import type { Entry, Revision } from '../../core/invalidation.ts';
import type { DeploymentKey, Tagger } from '../../core/tag.ts';
import type { Clock, DependencyHealth, Engine, Journal, LogLink, Telemetry } from '../../ports.ts';
import { type Degradations, fleetSource } from '../degradation.ts';
import type { Invalidations } from '../invalidations.ts';
import type { Issuer } from '../issuer.ts';
import type { SourceStanding } from '../source-standing.ts';
import { Wakeup } from '../wakeup.ts';
import { Beats } from './beats.ts';
import { Members } from './members.ts';
import { Mending } from './mending.ts';
import { Publishing } from './publishing.ts';
import { type ReadEntry, Reading } from './reading.ts';
import { Restored } from './restored.ts';
import { RollCalls } from './roll-calls.ts';
import type { Place, SharedQuestions } from './shared-questions.ts';
import { together } from './together.ts';

/** What a fleet needs. */
export interface FleetParts {
  readonly engine: Engine;
  /** Of this sidecar. */
  readonly name: string;
  readonly journal: Journal;
  readonly invalidations: Invalidations;
  readonly degradations: Pick<Degradations, 'addSource'>;
  readonly issuers: readonly Issuer[];
  readonly tagger: Tagger;
  /** Newest first. */
  readonly keys: readonly [DeploymentKey, ...DeploymentKey[]];
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly random: () => number;
  readonly maxLagMs: number;
  readonly wideWindowMs: number;
  readonly refreshLifeMs: number;
  /** What sidecars ask for each other. */
  readonly questions: SharedQuestions;
  /** Is told of each entry of the log that another sidecar has made, when it is applied here. */
  readonly heard: (entry: Entry) => void;
  /** How long an entry may matter. */
  readonly retentionMs: number;
  /** Whatever runs or waits then ends. */
  readonly stop: AbortSignal;
}

/** How far an entry has gone, each beyond the one before; when; and who, of all who are there, is not known to have applied it. */
export interface Reached {
  readonly reach: 'sidecar' | 'shared' | 'fleet';
  readonly atMs: number;
  readonly lagging: readonly string[];
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
  readonly #standings: readonly SourceStanding[];
  readonly #members: Members;
  readonly #rollCalls: RollCalls;
  readonly #publishing: Publishing;
  readonly #beats: Beats;
  readonly #mending: Mending;
  readonly #reading: Reading;
  readonly #progress = new Wakeup();
  readonly #restored: Restored;
  readonly #key: RecordKey;
  #isCaughtUp = false;
  #link: LogLink | undefined;
  /** Over this connection a sign of life of ours has come back: it is the log that it was. */
  #isHeardHere = false;
  /** Monotonic: everything that was in the log then is applied here. */
  #provenMs = Number.NEGATIVE_INFINITY;

  constructor(parts: FleetParts) {
    const { journal, invalidations, clock, telemetry, random, maxLagMs, degradations, issuers, keys, name } = parts;
    this.#parts = parts;
    const recordKeys = keys.map(recordKeyOf);
    const key = recordKeyOf(keys[0]);
    this.#key = key;
    this.#standings = issuers.map((issuer) => degradations.addSource({ issuer: issuer.name, name: fleetSource }));
    this.#members = new Members({ clock, leaseMs: maxLagMs });
    this.#publishing = new Publishing({ journal, invalidations, clock, key, random });
    this.#rollCalls = new RollCalls({ members: this.#members, clock, hurry: () => this.#beats.hurry() });
    this.#mending = new Mending({
      ...parts,
      publishing: this.#publishing,
      members: this.#members,
      standings: this.#standings,
      isAsking: () => this.#beats.isAsking,
    });
    const shared = { journal, key, clock, random, name, maxLagMs, members: this.#members, rollCalls: this.#rollCalls };
    this.#beats = new Beats({ ...shared, isWhole: () => this.#mending.isWhole });
    this.#restored = new Restored({ journal, clock, telemetry });
    const listener = {
      before: (entries: readonly ReadEntry[]) => this.#restored.before(entries),
      read: (entries: readonly ReadEntry[]) => this.#read(entries),
      presence: (presence: Presence, position: number) => this.#presence(presence, position),
      polled: (polled: Polled, position: number) => parts.questions.heard(polled, position),
      notTheSame: (how: 'trimmed' | 'anew', why: string) => this.#notTheSame(how, why),
      hole: () => this.#mending.hole(),
    };
    this.#reading = new Reading({
      journal,
      invalidations,
      tagger: parts.tagger,
      keys: recordKeys,
      clock,
      telemetry,
      leaseMs: 2 * maxLagMs,
      retentionMs: parts.retentionMs,
      listener,
    });
    parts.questions.join({
      journal: journal.id,
      isSound: () => !this.#mending.isDoubtful,
      isCurrent: () => this.#isCurrent,
      others: () => this.#members.count,
      place: () => this.#place(),
      told: (signal) => this.#publishing.toldAll(invalidations.applied, signal),
      tell: (polled, link) => this.#tellPolled(polled, link),
    });
    telemetry.gauge('sidegate_fleet_members', {}, () => this.#members.count);
    telemetry.gauge('sidegate_fleet_outbox', {}, () => this.#publishing.waiting().count);
    telemetry.gauge('sidegate_fleet_outbox_oldest_seconds', {}, () => {
      const { oldestAtMs } = this.#publishing.waiting();
      return oldestAtMs === undefined ? 0 : Math.max(0, clock.nowMs() - oldestAtMs) / 1000;
    });
  }

  /** What a run before has left. */
  async load(): Promise<void> {
    await this.#publishing.load();
    await this.#reading.load();
    const left = await this.#mending.load();
    if (left === undefined) return;
    if (left === 'anew') this.#reading.forget();
    this.#notTheSame(left, 'the sidecar ended before it was done with what the log may lack, or may have told');
  }

  /** It has read everything once that the log had. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp;
  }

  /** Resolves when it has; rejects with the signal's reason when it aborts first. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    while (!this.#isCaughtUp) await this.#progress.wait(this.#progress.version, signal);
  }

  /** Exchanges entries until `signal` aborts, and says goodbye then. */
  async run(signal: AbortSignal): Promise<void> {
    const leaving = new AbortController();
    const gone = new AbortController();
    let isConnected = false;
    const leave = (): void => {
      leaving.abort();
      if (!isConnected) gone.abort();
    };
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    const session = async (link: LogLink): Promise<void> => {
      isConnected = true;
      try {
        await this.#session(link, leaving.signal);
      } finally {
        isConnected = false;
        if (leaving.signal.aborted) gone.abort();
      }
    };
    await Promise.all([this.#parts.engine.run(session, gone.signal), this.#mending.watch()]);
  }

  /**
   * How far everything of ours up to `wanted` has gone: waits until it is as far as `until`, at the latest until `signal` aborts. `fleet`:
   * nobody answers from before it without saying that it is degraded.
   */
  async reach(wanted: Revision, until: 'shared' | 'fleet', signal: AbortSignal): Promise<Reached> {
    const { clock } = this.#parts;
    const now = (reach: Reached['reach'], lagging: readonly string[]): Reached => ({ reach, atMs: clock.nowMs(), lagging });
    const others = (): readonly string[] => this.#members.present().map(({ name }) => name);
    for (;;) {
      const isShared = await this.#isShared(wanted, signal);
      if (!isShared) return now('sidecar', until === 'fleet' ? others() : []);
      const shared = now('shared', []);
      if (until === 'shared') return shared;
      const { generation } = this.#mending;
      const left = await this.#rollCalls.roll(signal);
      // Where the log was made again meanwhile it may not hold what it held, and whoever has answered may have read another one.
      if (this.#mending.generation !== generation && !signal.aborted) continue;
      return left?.length === 0 ? now('fleet', []) : { ...shared, lagging: left ?? others() };
    }
  }

  async #isShared(wanted: Revision, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#publishing.told(wanted, signal);
      await this.#mending.whole(signal);
      return true;
    } catch (error) {
      if (!signal.aborted) throw error;
      return this.#publishing.hasTold(wanted) && this.#mending.isWhole;
    }
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

  async #session(link: LogLink, leaving: AbortSignal): Promise<void> {
    const tasks = [
      (over: AbortSignal) => this.#publishing.run(link, over),
      (over: AbortSignal) => this.#beats.beat(link, over),
      (over: AbortSignal) => this.#reading.run(link, () => this.#beats.confirmedMs, over),
      (over: AbortSignal) => this.#mending.run(link, this.#beats, over),
    ];
    this.#link = link;
    this.#isHeardHere = false;
    try {
      await together(tasks, [link.signal, leaving]);
    } finally {
      this.#link = undefined;
      this.#rollCalls.lost();
    }
    if (!leaving.aborted || link.signal.aborted) return;
    const { clock } = this.#parts;
    const said = new AbortController();
    await Promise.race([this.#beats.leave(link), clock.delay(longestGoodbyeMs, said.signal).catch(() => undefined)]);
    said.abort();
  }

  /** It reads what is told now, not what was told a while ago. */
  get #isCurrent(): boolean {
    const { clock, maxLagMs } = this.#parts;
    return clock.monotonicMs() - this.#provenMs <= maxLagMs / 2;
  }

  #place(): Place | undefined {
    const { position } = this.#reading;
    return this.#link && this.#isHeardHere && position !== undefined ? { link: this.#link, position } : undefined;
  }

  /** What was told must be in this log, before that it was: over a connection that has ended it may be another one. */
  async #tellPolled(polled: () => Polled, link: LogLink): Promise<void> {
    await this.#publishing.toldAll(this.#parts.invalidations.applied, link.signal);
    if (this.#link !== link || !this.#isCurrent || this.#mending.isDoubtful) return;
    await link.append(sealRecord(this.#key, { kind: 'polled', polled: polled() }));
  }

  #read(entries: readonly ReadEntry[]): void {
    const { journal, heard } = this.#parts;
    const ids = new Set(entries.map(({ id }) => id));
    this.#publishing.brought(ids);
    this.#mending.read(ids);
    for (const entry of entries) if (entry.from !== journal.id) heard(entry);
  }

  #presence(presence: Presence, position: number): void {
    if (presence.journal === this.#parts.journal.id) this.#ofOurs(presence, position);
    else this.#ofAnother(presence);
  }

  #ofAnother(presence: Presence): void {
    if (!this.#members.saw(presence)) return;
    if (presence.isLeaving) this.#rollCalls.left();
    this.#mending.saw(presence);
    this.#beats.answer(presence.calls);
    this.#rollCalls.answered(presence, presence.answers);
  }

  #ofOurs(presence: Presence, position: number): void {
    if (presence.run !== this.#beats.run) this.#restored.saw(presence);
    const appendedMs = this.#beats.cameBack(presence);
    this.#rollCalls.cameBack(presence.calls);
    if (appendedMs === undefined) return;
    for (const standing of this.#standings) standing.proven(appendedMs);
    this.#mending.proven(appendedMs);
    this.#parts.questions.proven({ position, appendedMs });
    this.#provenMs = Math.max(this.#provenMs, appendedMs);
    this.#isHeardHere = true;
    if (this.#isCaughtUp) return;
    this.#isCaughtUp = true;
    this.#progress.wake();
  }

  #notTheSame(how: 'trimmed' | 'anew', why: string): void {
    this.#mending.begin(how, why);
    this.#parts.questions.forget();
    if (how === 'trimmed') this.#beats.ask();
  }
}
