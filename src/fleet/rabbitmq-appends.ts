// Appends over one connection to RabbitMQ: many at once, in order, each with a deadline.

import { AmqpError } from '../amqp/amqp-error.ts';
import type { AmqpLink } from '../amqp/amqp-link.ts';
import type { Publisher } from '../amqp/publisher.ts';
import { SidecarError } from '../core/errors.ts';
import type { Clock } from '../ports.ts';

/** What appends are made of. */
export interface AppendsParts {
  readonly clock: Clock;
  /** What is sent goes over this one; where it does not answer, it fails. */
  readonly link: Pick<AmqpLink, 'fail' | 'isBlocked' | 'listensSinceMs' | 'server'>;
  readonly publisher: Pick<Publisher, 'isOver' | 'post'>;
  readonly stream: string;
  /** Aborts where `link` fails, if not sooner: nothing can be appended any more. */
  readonly signal: AbortSignal;
}

/** After it nobody waits any longer, and a broker that has read all the time and confirmed nothing is given up. */
export const appendMs = 10_000;
/** On their way at once; what is beyond waits for its turn. At some hundred bytes each, less than a megabyte that a broker may make us keep. */
export const mostOnTheirWay = 1_000;
/** Between two looks at the deadlines, at most. */
const lookMs = 1_000;

interface Append {
  readonly bytes: Uint8Array;
  readonly untilMs: number;
  readonly resolve: () => void;
  readonly reject: (error: SidecarError) => void;
}

/** Appends to one stream, until its connection ends. */
export class Appends {
  readonly #parts: AppendsParts;
  /** Told neither way yet, in the order of the calls, which is that of their deadlines too. */
  readonly #open = new Set<Append>();
  /** Not sent yet, in the order of the calls. */
  readonly #waiting = new Set<Append>();
  /** Sent and not confirmed, with the moment of sending; those too that nobody waits for any longer. */
  readonly #sent = new Map<Append, number>();
  #count = 0;
  #isWatching = false;

  constructor(parts: AppendsParts) {
    this.#parts = parts;
    parts.signal.addEventListener('abort', () => this.#giveUp(), { once: true });
  }

  /** As `LogLink.append`. */
  append(bytes: Uint8Array): Promise<void> {
    const { clock, signal } = this.#parts;
    if (signal.aborted) return Promise.reject(unreachable(signal.reason));
    return new Promise((resolve, reject) => {
      const append: Append = { bytes, untilMs: clock.monotonicMs() + appendMs, resolve, reject };
      this.#open.add(append);
      this.#waiting.add(append);
      this.#send();
      if (!this.#isWatching) void this.#watch();
    });
  }

  #send(): void {
    for (const append of this.#waiting) {
      if (this.#sent.size >= mostOnTheirWay) return;
      this.#waiting.delete(append);
      this.#sent.set(append, this.#parts.clock.monotonicMs());
      void this.#post(append);
    }
  }

  async #post(append: Append): Promise<void> {
    const { link, publisher, stream, signal } = this.#parts;
    this.#count += 1;
    try {
      const come = await publisher.post(stream, this.#count.toString(36), append.bytes);
      // It is made again with the next connection.
      if (come === 'returned') link.fail(new AmqpError(`${link.server} has no stream ${stream} any more`));
      else if (this.#open.delete(append)) append.resolve();
    } catch (cause) {
      const error = cause instanceof AmqpError ? cause : new AmqpError('a fault of ours', { cause });
      this.#refuse(append, error);
      // Else it was this one alone that it did not take.
      if (publisher.isOver) link.fail(error);
    } finally {
      this.#sent.delete(append);
      if (!signal.aborted) this.#send();
    }
  }

  /** Looks at the deadlines while anything is under way. */
  async #watch(): Promise<void> {
    const { clock, link, signal } = this.#parts;
    this.#isWatching = true;
    try {
      while (this.#open.size + this.#sent.size > 0) {
        const nowMs = clock.monotonicMs();
        for (const append of this.#open) {
          if (append.untilMs > nowMs) break;
          this.#waiting.delete(append);
          const why = link.isBlocked ? 'has blocked who publishes: it is short of memory or disk' : `did not confirm within ${appendMs} ms`;
          this.#refuse(append, new AmqpError(`${link.server} ${why}`));
        }
        const hangsAtMs = this.#hangsAtMs();
        if (hangsAtMs <= nowMs) {
          link.fail(new AmqpError(`${link.server} has confirmed nothing for ${appendMs} ms`));
          return;
        }
        const [oldest] = this.#open;
        await clock.delay(Math.min(lookMs, hangsAtMs - nowMs, (oldest?.untilMs ?? hangsAtMs) - nowMs), signal);
      }
    } catch (error) {
      // The connection has ended, and has told everybody.
      if (!signal.aborted) throw error;
    } finally {
      this.#isWatching = false;
    }
  }

  /** When the oldest that is on its way has been so for too long, all the while read by the broker; Infinity: never. */
  #hangsAtMs(): number {
    const { listensSinceMs } = this.#parts.link;
    const [oldestMs] = this.#sent.values();
    if (oldestMs === undefined || listensSinceMs === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(oldestMs, listensSinceMs) + appendMs;
  }

  #giveUp(): void {
    this.#waiting.clear();
    for (const append of this.#open) this.#refuse(append, this.#parts.signal.reason);
  }

  #refuse(append: Append, cause: unknown): void {
    if (this.#open.delete(append)) append.reject(unreachable(cause));
  }
}

/** Nobody knows whether the log has it. */
function unreachable(cause: unknown): SidecarError {
  const message = cause instanceof AmqpError ? cause.message : 'the connection has ended';
  return new SidecarError('UNAVAILABLE', message, { reason: 'LOG_UNREACHABLE', retryAfterMs: 1_000, cause });
}
