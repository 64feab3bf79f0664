// What this sidecar appends to the log: sealed, and counted, so that whoever reads the log notices what is missing in it.

import { randomBytes } from 'node:crypto';
import { type Count, type RecordKey, type SealableRecord, sealRecord } from '../../core/fleet-record.ts';
import type { LogLink } from '../../ports.ts';

/** Appends over one connection. */
export interface LogWriter {
  /** As `LogLink.append`. Throws INTERNAL / ENTRY_UNWRITABLE. */
  append(record: SealableRecord): Promise<void>;
}

/** Everything that one process appends. */
export class Appending {
  /** Random, of this one run. */
  readonly run: string = randomBytes(8).toString('hex');
  readonly #key: RecordKey;
  #links = 0;
  /** Of the connections until now. */
  #before: Count['before'];
  #counting: Counting | undefined;

  constructor(key: RecordKey) {
    this.#key = key;
  }

  /** From now on over this connection. */
  over(link: LogLink): LogWriter {
    let counting = this.#begin();
    return {
      append: async (record) => {
        const mine = counting;
        const count = mine.next();
        try {
          await link.append(sealRecord(this.#key, { ...record, count }));
          mine.confirmed(count.nth);
        } catch (error) {
          // Nobody knows whether the log has it. Where the connection stands all the same, nothing behind it would ever be sure.
          if (counting === mine && this.#counting === mine) counting = this.#begin();
          throw error;
        }
      },
    };
  }

  #begin(): Counting {
    this.#before = this.#counting?.last() ?? this.#before;
    this.#links += 1;
    this.#counting = new Counting({ run: this.run, link: this.#links, ...(this.#before ? { before: this.#before } : {}) });
    return this.#counting;
  }

  /** It was appended by this process, over the connection that was begun last, and after what failed over that. */
  isOfNow({ run, link }: Count): boolean {
    return run === this.run && link === this.#links;
  }
}

/** One connection's. */
class Counting {
  readonly #of: Pick<Count, 'run' | 'link' | 'before'>;
  #nth = 0;
  /** Not confirmed, in order. One that never is has the log sure of nothing behind it. */
  readonly #open = new Set<number>();

  constructor(of: Pick<Count, 'run' | 'link' | 'before'>) {
    this.#of = of;
  }

  next(): Count {
    const sure = this.#sure;
    this.#nth += 1;
    this.#open.add(this.#nth);
    return { ...this.#of, nth: this.#nth, sure };
  }

  confirmed(nth: number): void {
    this.#open.delete(nth);
  }

  /** Undefined: nobody knows of any that the log has it. */
  last(): Count['before'] {
    return this.#sure === 0 ? undefined : { link: this.#of.link, sure: this.#sure };
  }

  get #sure(): number {
    const [first] = this.#open;
    return first === undefined ? this.#nth : first - 1;
  }
}
