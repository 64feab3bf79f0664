// Somebody may have missed what the log no longer holds, and asks for it: what was first told here is told once more, and what nobody else can.

import type { Presence } from '../../core/fleet-record.ts';
import type { Entry } from '../../core/invalidation.ts';
import type { Clock, Journal, Telemetry } from '../../ports.ts';
import { Wakeup } from '../wakeup.ts';
import type { LogWriter } from './appending.ts';
import type { Members } from './members.ts';
import type { Publishing } from './publishing.ts';

/** What it needs. */
export interface AnsweringParts {
  readonly journal: Pick<Journal, 'note' | 'noted'>;
  readonly publishing: Pick<Publishing, 'tellAgain'>;
  readonly members: Pick<Members, 'present'>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly random: () => number;
  /** Resolves when the log holds what the journal does. */
  readonly whole: (signal: AbortSignal) => Promise<void>;
}

/** `open`: somebody has asked, and has not been told it yet. */
const note = 'fleet-asked';
/** Questions that have been answered. */
const mostAsked = 1_000;
/** Where all have missed the same, all ask: so long for more of them. */
const longestWaitMs = 1_000;
/** All who hold what is nobody's any more would tell it: each waits so long at random, and leaves out what others have told meanwhile. */
const longestOrphanWaitMs = 5_000;
/** Beyond it something may be told twice. */
const mostBrought = 1_000_000;

/** What is asked of one sidecar. */
export class Answering {
  readonly #parts: AnsweringParts;
  readonly #changed = new Wakeup();
  readonly #asked = new Set<string>();
  #isAsked = false;
  /** What has come through the log since it is told; undefined: nothing is. */
  #brought: Set<string> | undefined;

  constructor(parts: AnsweringParts) {
    this.#parts = parts;
  }

  /** What a run before has not done with. */
  async load(): Promise<void> {
    this.#isAsked = (await this.#parts.journal.noted(note)) === 'open';
  }

  /** A member's sign of life. */
  saw({ asks }: Pick<Presence, 'asks'>): void {
    if (asks === undefined || this.#asked.has(asks)) return;
    const [oldest] = this.#asked;
    if (this.#asked.size >= mostAsked && oldest !== undefined) this.#asked.delete(oldest);
    this.#asked.add(asks);
    this.ask();
  }

  /** It is to be told once more. */
  ask(): void {
    this.#isAsked = true;
    // Before where we have read to: whoever asks is not heard a second time.
    this.#note('open');
    this.#changed.wake();
  }

  /** These ids are in the log. */
  read(ids: ReadonlySet<string>): void {
    if (this.#brought && this.#brought.size < mostBrought) for (const id of ids) this.#brought.add(id);
  }

  /** Tells what is asked for until `signal` aborts; rejects where the log does not take it. */
  async run(log: LogWriter, signal: AbortSignal): Promise<void> {
    const { clock, random, whole } = this.#parts;
    try {
      while (!signal.aborted) {
        const seen = this.#changed.version;
        if (!this.#isAsked) {
          await this.#changed.wait(seen, signal);
          continue;
        }
        await whole(signal);
        await clock.delay(random() * longestWaitMs, signal);
        await this.#tell(log, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #tell(log: LogWriter, signal: AbortSignal): Promise<void> {
    const { publishing, telemetry, clock, random } = this.#parts;
    this.#isAsked = false;
    const brought = new Set<string>();
    this.#brought = brought;
    try {
      const ours = await publishing.tellAgain(log, ({ from }: Entry) => from === undefined, signal);
      await clock.delay(random() * longestOrphanWaitMs, signal);
      const there = this.#journals();
      const isNobodys = ({ id, from }: Entry): boolean => from !== undefined && !there.has(from) && !brought.has(id);
      const nobodys = await publishing.tellAgain(log, isNobodys, signal);
      telemetry.log.info(
        { ours, nobodys },
        'a sidecar may have missed something: what was first revoked here, or by who is gone, is told again',
      );
      if (!this.#isAsked) this.#note('');
    } catch (error) {
      this.#isAsked = true;
      throw error;
    } finally {
      this.#brought = undefined;
    }
  }

  /** Each of them tells what is its own. */
  #journals(): ReadonlySet<string> {
    return new Set(this.#parts.members.present().map(({ journal }) => journal));
  }

  #note(value: string): void {
    const { journal, telemetry } = this.#parts;
    // Where nothing can be written, the journal says so itself, and acknowledges nothing.
    journal.note(note, value).catch((error: unknown) => telemetry.log.debug({ error }, 'that somebody asks was not noted'));
  }
}
