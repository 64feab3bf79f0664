// One connection to one server: one socket, one parser, one timer. After any fault it is over; nothing of it reaches the next.

import type { Socket } from 'node:net';
import type { Response } from 'memjs';
import type { Clock } from '../ports.ts';
import type { Dialled } from './dial.ts';
import { createParser, type Parser, ProtocolError } from './parser.ts';

/** What is asked, and who wants to know. One of the two is called, once. */
export interface Request {
  readonly opaque: number;
  readonly opcode: number;
  readonly bytes: Buffer;
  respond(response: Response): void;
  fail(error: Error): void;
}

/** Bounds of one connection. */
export interface ConnectionLimits {
  /** For an answer, from `send` on; and for any answer at all while one is waited for. */
  readonly deadlineMs: number;
  /** For the connection to stand. Requests do not wait for it longer than their deadline. */
  readonly connectMs: number;
  /** Of one answer. */
  readonly maxBodyBytes: number;
  /** Written by us and not yet taken by the system. */
  readonly maxQueuedBytes: number;
  /** Requests that wait, and those that have run out and might still be answered. */
  readonly maxInFlight: number;
  /** Requests that have run out: a connection that owes us more is given up. */
  readonly maxOwed: number;
}

/** What the owner of a connection learns of it. */
export interface ConnectionEvents {
  /** A request was answered in time. */
  answered(response: Response): void;
  /** A request ran out, and the connection goes on. */
  expired(): void;
  /** The connection is over, and what waited has failed. `atRest`: nobody waited, and the server may close what is not used. */
  over(problem: string, atRest: boolean): void;
}

const tooLate = 'no answer within the deadline';

interface Waiting extends Request {
  readonly endsAtMs: number;
  sent: boolean;
}

// Written together, one write after the other. memcached 1.6.18 reads a TLS record into 16 KiB, and forgets what did not fit until more
// arrives: a record must not end within a request, and node makes records of what it is given at once.
const largestWriteBytes = 8 * 1024;

/** A connection, from the moment it is begun. What it opens it closes again, also what opens only after its end. */
export class Connection {
  readonly #limits: ConnectionLimits;
  readonly #clock: Clock;
  readonly #events: ConnectionEvents;
  readonly #parse: Parser;
  readonly #startedAtMs: number;
  /** In the order in which they run out: all have the same deadline. */
  readonly #waiting = new Map<number, Waiting>();
  /** Opaque → opcode of what has run out after it was sent. */
  readonly #owed = new Map<number, number>();
  #state: 'connecting' | 'ready' | 'over' = 'connecting';
  #socket: Socket | undefined;
  /** Not yet written, oldest first. */
  #outbox: Waiting[] = [];
  #isWriting = false;
  /** Of requests that wait to be written or are being written. */
  #queuedBytes = 0;
  /** When the server last showed that it keeps up, by an answer in time. */
  #lastSignMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerEndsAtMs = Number.POSITIVE_INFINITY;

  constructor(
    dialled: Promise<Dialled>,
    parts: { readonly limits: ConnectionLimits; readonly clock: Clock; readonly events: ConnectionEvents },
  ) {
    this.#limits = parts.limits;
    this.#clock = parts.clock;
    this.#events = parts.events;
    this.#parse = createParser(parts.limits.maxBodyBytes);
    this.#startedAtMs = parts.clock.monotonicMs();
    dialled.then(
      (made) => this.#adopt(made),
      (error: unknown) => this.#break(error instanceof Error ? error.message : 'it cannot be dialled'),
    );
    this.#arm();
  }

  /** Why a request of so many bytes is not taken now; undefined where it is. */
  refusal(size: number): string | undefined {
    if (this.#state === 'over') return 'the connection is over';
    // Who comes later than the first deadline does not wait for a connection that may never stand.
    if (this.#state === 'connecting' && this.#clock.monotonicMs() - this.#startedAtMs >= this.#limits.deadlineMs) return 'still connecting';
    if (this.#waiting.size + this.#owed.size >= this.#limits.maxInFlight) return 'too many requests in flight';
    return this.#queuedBytes + size > this.#limits.maxQueuedBytes ? 'too many bytes on their way' : undefined;
  }

  /** Only where there is no refusal. */
  send(request: Request): void {
    const waiting = { ...request, endsAtMs: this.#clock.monotonicMs() + this.#limits.deadlineMs, sent: false };
    this.#waiting.set(request.opaque, waiting);
    this.#outbox.push(waiting);
    this.#queuedBytes += request.bytes.length;
    this.#write();
    if (waiting.endsAtMs < this.#timerEndsAtMs) this.#arm();
  }

  /** Whether this number is still taken: an answer to it may yet come. */
  owes(opaque: number): boolean {
    return this.#waiting.has(opaque) || this.#owed.has(opaque);
  }

  /** Ends it now: what waits fails with `problem`. No event is told. */
  destroy(problem: string): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    clearTimeout(this.#timer);
    // Not ended: a server that hangs would never read the end, and the descriptor would stay.
    this.#socket?.destroy();
    const waited = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#owed.clear();
    this.#outbox = [];
    for (const request of waited) request.fail(new Error(problem));
  }

  #adopt({ socket, ready }: Dialled): void {
    // Without a listener an error would end the process, also one that comes when nobody cares any more.
    socket.on('error', (error) => this.#break(error.message));
    if (socket.destroyed) this.#break(socket.errored?.message ?? 'the connection was closed');
    if (this.#state === 'over') {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    socket.on(ready, () => this.#begin());
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('end', () => this.#break('the server closed the connection'));
    socket.on('close', () => this.#break('the connection was closed'));
  }

  // Only now is anything written: before, nobody has shown a certificate.
  #begin(): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'ready';
    // Half a deadline to show itself: what waited for the connection has less than a whole one left.
    this.#lastSignMs = this.#clock.monotonicMs() - this.#limits.deadlineMs / 2;
    this.#write();
    this.#arm();
  }

  #write(): void {
    if (this.#state !== 'ready' || this.#isWriting) return;
    const batch: Buffer[] = [];
    let size = 0;
    for (let next = this.#outbox[0]; next !== undefined; next = this.#outbox[0]) {
      if (batch.length > 0 && size + next.bytes.length > largestWriteBytes) break;
      this.#outbox.shift();
      next.sent = true;
      batch.push(next.bytes);
      size += next.bytes.length;
    }
    if (batch.length === 0) return;
    this.#isWriting = true;
    this.#socket?.write(Buffer.concat(batch, size), () => {
      this.#isWriting = false;
      this.#queuedBytes -= size;
      this.#write();
    });
  }

  #receive(chunk: Buffer): void {
    if (this.#state === 'over') return;
    try {
      for (const response of this.#parse(chunk)) this.#answer(response);
    } catch (error) {
      // ProtocolError: whatever follows cannot be told apart any more.
      this.#break(error instanceof Error ? error.message : 'an answer cannot be read');
    }
  }

  #answer(response: Response): void {
    const { opaque, opcode } = response.header;
    const request = this.#waiting.get(opaque);
    if ((request?.opcode ?? this.#owed.get(opaque)) !== opcode) throw new ProtocolError('an answer that nobody asked for');
    this.#owed.delete(opaque);
    // Late: nobody waits, and it does not show that the server keeps up.
    if (request === undefined) return;
    this.#waiting.delete(opaque);
    this.#lastSignMs = this.#clock.monotonicMs();
    request.respond(response);
    this.#events.answered(response);
  }

  #break(problem: string): void {
    if (this.#state === 'over') return;
    const atRest = this.#state === 'ready' && this.#waiting.size === 0;
    this.destroy(problem);
    this.#events.over(problem, atRest);
  }

  // One timer, for whatever ends first; it is not moved when that is answered, but looks again when it comes.
  #arm(): void {
    clearTimeout(this.#timer);
    const [oldest] = this.#waiting.values();
    const standsByMs = this.#state === 'connecting' ? this.#startedAtMs + this.#limits.connectMs : Number.POSITIVE_INFINITY;
    this.#timerEndsAtMs = this.#state === 'over' ? Number.POSITIVE_INFINITY : Math.min(oldest?.endsAtMs ?? standsByMs, standsByMs);
    if (this.#timerEndsAtMs === Number.POSITIVE_INFINITY) return;
    const leftMs = Math.max(1, Math.ceil(this.#timerEndsAtMs - this.#clock.monotonicMs()));
    // Judged after the sockets were read: where this process was busy, answers lie there that came in time.
    this.#timer = setTimeout(() => setImmediate(() => this.#judge()), leftMs).unref();
  }

  #judge(): void {
    if (this.#state === 'over') return;
    const nowMs = this.#clock.monotonicMs();
    const ended = [...this.#waiting.values()].filter((request) => request.endsAtMs <= nowMs);
    const problem = this.#problem(ended.length, nowMs);
    if (problem !== undefined) {
      this.#break(problem);
      return;
    }
    for (const request of ended) this.#expire(request);
    if (ended.length > 0) this.#outbox = this.#outbox.filter((request) => request.endsAtMs > nowMs);
    this.#arm();
  }

  /** Why the connection is not worth keeping, now that so many requests have run out. */
  #problem(ended: number, nowMs: number): string | undefined {
    const { connectMs, deadlineMs, maxOwed } = this.#limits;
    if (this.#state === 'connecting') return nowMs - this.#startedAtMs >= connectMs ? 'no connection within its time' : undefined;
    // One slow request is no reason while the server answers its neighbours.
    const silent = ended > 0 && nowMs - this.#lastSignMs >= deadlineMs;
    return silent || this.#owed.size + ended > maxOwed ? tooLate : undefined;
  }

  #expire(request: Waiting): void {
    this.#waiting.delete(request.opaque);
    // Where it was never sent, its number is free and its bytes are not on their way.
    if (request.sent) this.#owed.set(request.opaque, request.opcode);
    else this.#queuedBytes -= request.bytes.length;
    request.fail(new Error(tooLate));
    this.#events.expired();
  }
}
