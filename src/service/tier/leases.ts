// One fetch for many sidecars: who holds the lease asks the authority, the others look again (S15).

import { randomUUID } from 'node:crypto';
import type { Clock, SharedCache, Telemetry } from '../../ports.ts';

/** What leases need. */
export interface LeasesParts {
  readonly shared: SharedCache;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/** Who waits for what. */
export interface Wait<Found> {
  /** The same on every sidecar, and nothing that anybody could guess. */
  readonly name: string;
  /** How long the holder of a lease is waited for, in milliseconds. */
  readonly waitMs: number;
  /** Whether what is waited for has come. */
  readonly look: () => Promise<Found | undefined>;
}

/** `found`: another sidecar has fetched it. `fetch`: it is ours to fetch; `done` is called when the result is where others look. */
export type Turn<Found> =
  | { readonly kind: 'found'; readonly found: Found }
  | { readonly kind: 'fetch'; readonly done: () => Promise<void> };

const leaseMs = 2000;
const firstPauseMs = 10;
/** Two leases: the second is for when the holder of the first has died. */
const numbers = [1, 2] as const;

/** Leases on fetches, in the shared tier. */
export class Leases {
  readonly #parts: LeasesParts;

  constructor(parts: LeasesParts) {
    this.#parts = parts;
  }

  /**
   * Whose turn it is. A tier that cannot be asked is a lease that is won: nobody waits for what nobody can tell.
   * Throws the signal's reason.
   */
  async take<Found>({ name, waitMs, look }: Wait<Found>, signal: AbortSignal): Promise<Turn<Found>> {
    const holder = randomUUID();
    for (const number of numbers) {
      const lease = `lease ${number} ${name}`;
      const added = await this.#parts.shared.add(lease, Buffer.from(holder, 'utf8'), leaseMs);
      if (added !== 'exists') {
        const done = (): Promise<void> => this.#release(lease, holder);
        // Look again: between the last look and this lease its former holder may have stored what is wanted, and given the lease back.
        const found = added === 'added' ? await look() : undefined;
        if (found === undefined) {
          this.#count('won');
          return { kind: 'fetch', done };
        }
        void done();
        this.#count('waited');
        return { kind: 'found', found };
      }
      const { found, isAlone } = await this.#await(lease, waitMs, look, signal);
      if (found !== undefined) {
        this.#count('waited');
        return { kind: 'found', found };
      }
      if (isAlone) break;
    }
    this.#count('lost');
    return { kind: 'fetch', done: async () => undefined };
  }

  /** Looks again after 10, 20, 40 … ms, until its holder has given the lease back: then there is nothing to wait for. */
  async #await<Found>(
    lease: string,
    waitMs: number,
    look: () => Promise<Found | undefined>,
    signal: AbortSignal,
  ): Promise<{ readonly found?: Found | undefined; readonly isAlone?: boolean }> {
    const { clock, shared } = this.#parts;
    const untilMs = clock.monotonicMs() + waitMs;
    for (let pauseMs = firstPauseMs; ; pauseMs *= 2) {
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0) return {};
      await clock.delay(Math.min(pauseMs, leftMs), signal);
      // The lease first: what its holder has put there before it gave the lease back is then seen.
      const { kind } = await shared.get(lease);
      const found = await look();
      // Nobody could tell that it has come.
      if (kind === 'unreachable') return { found, isAlone: true };
      if (found !== undefined || kind === 'missing') return { found };
    }
  }

  /** One that has run out may be another's by now. */
  async #release(lease: string, holder: string): Promise<void> {
    const { shared } = this.#parts;
    const finding = await shared.get(lease);
    if (finding.kind === 'found' && Buffer.from(finding.value).toString('utf8') === holder) await shared.remove(lease);
  }

  #count(outcome: 'won' | 'waited' | 'lost'): void {
    this.#parts.telemetry.counter('sidegate_leases_total', { outcome }).add();
  }
}
