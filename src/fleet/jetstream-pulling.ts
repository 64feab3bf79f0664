// What a reader of a stream has asked for, and what has come of it. Nothing is waited for here.

import type { Message } from '@nats-io/transport-node';
import type { LogRecord } from '../ports.ts';

/** One pull: twice as much may be held, with what is being taken. */
const mostRecords = 500;
const mostBytes = 4 << 20;
/** Then the server says that there was no more, and we ask again. */
const pullMs = 30_000;
/** In between it says that it lives. */
export const heartbeatMs = 1_000;
/** Looks, one each heartbeat, that find nothing: counted, as a process that was stopped is late and not deaf. */
const mostSilentLooks = 4;
const nanosecondsPerMs = 1_000_000;

/** Statuses in place of a record, by NATS' own numbers. */
const heartbeat = 100;
const nothing = 404;
const over = 408;
const conflict = 409;

/** Pulls of one reader, one after the other. What it says is the end of the reading is said as what the server did. */
export class Pulling {
  readonly #inbox: string;
  readonly #from: number;
  #arrived: LogRecord[] = [];
  #delivered = 0;
  #underWay: { records: number; bytes: number; isFresh: boolean } | undefined;
  #isAlone = false;
  #silentLooks = 0;

  /** What comes to `inbox` itself is a status; records from below `from` are nobody's. */
  constructor(inbox: string, from: number) {
    this.#inbox = inbox;
    this.#from = from;
  }

  /** Undefined while the last pull is under way; else what is to be asked next, which is under way then. */
  next(): string | undefined {
    if (this.#underWay !== undefined) return undefined;
    const isAlone = this.#isAlone;
    this.#isAlone = false;
    this.#silentLooks = 0;
    const records = isAlone ? 1 : mostRecords;
    this.#underWay = { records, bytes: isAlone ? Number.POSITIVE_INFINITY : mostBytes, isFresh: true };
    return JSON.stringify({
      batch: records,
      ...(!isAlone && { max_bytes: mostBytes }),
      expires: pullMs * nanosecondsPerMs,
      idle_heartbeat: heartbeatMs * nanosecondsPerMs,
    });
  }

  /** What has come since the last time. */
  arrived(): readonly LogRecord[] {
    const arrived = this.#arrived;
    this.#arrived = [];
    return arrived;
  }

  /** Takes what the server sends. Answers why that is the end of the reading; undefined: it is not. */
  receive(message: Message): string | undefined {
    this.#silentLooks = 0;
    if (message.subject === this.#inbox) return this.#status(message.headers);
    const { position, delivery } = placeOf(message.reply ?? '');
    this.#delivered += 1;
    if (delivery !== this.#delivered || !Number.isSafeInteger(position)) return 'has sent a record that got lost on its way';
    // The server begins with the next one where nothing is there yet.
    if (position >= this.#from) this.#arrived.push({ position, bytes: message.data });
    const pull = this.#underWay;
    if (pull !== undefined) {
      pull.isFresh = false;
      pull.records -= 1;
      pull.bytes -= message.size();
      if (pull.records === 0 || pull.bytes <= 0) this.#underWay = undefined;
    }
    return undefined;
  }

  /** Called each heartbeat. Answers as `receive`. */
  look(): string | undefined {
    if (this.#underWay === undefined) return undefined;
    this.#silentLooks += 1;
    return this.#silentLooks > mostSilentLooks ? 'gives no records, and no sign of life, to who reads' : undefined;
  }

  #status({ code, description }: NonNullable<Message['headers']> = { code: 0, description: '' }): string | undefined {
    if (code === heartbeat) return undefined;
    const isTooLarge = code === conflict && description.toLowerCase().includes('maxbytes');
    if (code !== nothing && code !== over && !isTooLarge) {
      return `has ended the reading (${code}): the stream was deleted, or is kept elsewhere now`;
    }
    // What is larger than a whole pull is asked for alone.
    this.#isAlone = isTooLarge && (this.#underWay?.isFresh ?? false);
    this.#underWay = undefined;
    return undefined;
  }
}

/** A record comes with the subject that it would be acknowledged on, `$JS.ACK.….<position>.<delivery>.<time>.<pending>`, in two forms. */
function placeOf(reply: string): { readonly position: number; readonly delivery: number } {
  const parts = reply.split('.');
  const at = parts.length < 11 ? 5 : 7;
  return { position: Number(parts[at]), delivery: Number(parts[at + 1]) };
}
