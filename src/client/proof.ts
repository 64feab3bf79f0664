// Whether the stream proves, at this very moment, that nothing has been missed (W8).

/** A checkpoint, as far as it proves something. Times by the sidecar's clock. */
export interface ProvingCheckpoint {
  readonly revision: number;
  readonly serverTimeMs: number | undefined;
  readonly provenThroughMs: number | undefined;
  readonly degraded: boolean;
  readonly degradedIssuers: readonly string[];
}

/** What `opened` granted. */
export interface Granted {
  readonly checkpointIntervalMs: number;
  readonly proofLifetimeMs: number;
  /** The newest revision when the stream was opened. */
  readonly latestRevision: number;
}

/** W8: a checkpoint proves for so many intervals. */
const provenIntervals = 3;
/** W8: how far back the smallest delay is looked for. It is kept for one to two of these. */
const windowMs = 300_000;
/** After so many intervals of a stream that is read as it comes, its own delays say all. */
const settledIntervals = 10;

/**
 * The proof that one stream gives. Every time but those of checkpoints is of a local clock that never steps.
 *
 * The sidecar's clock is mapped to ours by the smallest delay seen: "delay" is our time of reading minus its time of writing, and the
 * constant between the clocks cancels out. A process that was stopped reads old checkpoints late, with a greater delay than the
 * smallest, and so knows their age. For that the smallest must outlive the stop: the window counts the stream's own time, of which a
 * pause is three intervals and a burst of waiting messages nothing.
 */
export class Proof {
  #granted: Granted | undefined;
  #last: ProvingCheckpoint | undefined;
  #mustReach = 0;
  #subscribedAtMs = 0;
  #lastReadMs: number | undefined;
  #livedMs = 0;
  #windowEndsMs = windowMs;
  #smallestMs = Number.POSITIVE_INFINITY;
  #smallestBeforeMs = Number.POSITIVE_INFINITY;
  /** The first checkpoint was written after we subscribed, so this delay is at most the true constant, however late we read it. */
  #boundMs = Number.POSITIVE_INFINITY;

  /** A new stream is asked for, now: nothing is proven, and delays of the old one say nothing about it. */
  subscribing(nowMs: number): void {
    this.#granted = undefined;
    this.#last = undefined;
    this.#subscribedAtMs = nowMs;
    this.#lastReadMs = undefined;
    this.#livedMs = 0;
    this.#windowEndsMs = windowMs;
    this.#smallestMs = Number.POSITIVE_INFINITY;
    this.#smallestBeforeMs = Number.POSITIVE_INFINITY;
    this.#boundMs = Number.POSITIVE_INFINITY;
  }

  opened(granted: Granted): void {
    this.#granted = granted;
    // A checkpoint below what was there already when the stream was opened is one of catching up: it proves nothing yet.
    this.#mustReach = granted.latestRevision;
  }

  /** The stream goes on after this revision: the next checkpoint proves. */
  reset(revision: number): void {
    this.#last = undefined;
    this.#mustReach = revision;
  }

  checkpoint(checkpoint: ProvingCheckpoint, nowMs: number): void {
    this.#last = checkpoint;
    if (this.#granted === undefined || checkpoint.serverTimeMs === undefined) return;
    const intervalMs = this.#granted.checkpointIntervalMs;
    if (this.#lastReadMs === undefined) this.#boundMs = this.#subscribedAtMs - checkpoint.serverTimeMs;
    else this.#livedMs += Math.min(nowMs - this.#lastReadMs, provenIntervals * intervalMs);
    this.#lastReadMs = nowMs;
    if (this.#livedMs > settledIntervals * intervalMs) this.#boundMs = Number.POSITIVE_INFINITY;
    if (this.#livedMs > this.#windowEndsMs) {
      this.#windowEndsMs = this.#livedMs + windowMs;
      this.#smallestBeforeMs = this.#smallestMs;
      this.#smallestMs = Number.POSITIVE_INFINITY;
    }
    this.#smallestMs = Math.min(this.#smallestMs, nowMs - checkpoint.serverTimeMs);
  }

  /** The stream is gone. */
  closed(): void {
    this.#granted = undefined;
    this.#last = undefined;
  }

  /** Whether answers about tokens of `issuer` (absent: of every issuer that is not degraded) are proven at `nowMs`. */
  holds(nowMs: number, issuer?: string): boolean {
    const granted = this.#granted;
    const last = this.#last;
    if (granted === undefined || last === undefined || last.degraded || last.revision < this.#mustReach) return false;
    if (issuer !== undefined && last.degradedIssuers.includes(issuer)) return false;
    if (last.serverTimeMs === undefined || last.provenThroughMs === undefined) return false;
    // What was not granted cannot be kept: an age of exactly zero would be within it.
    if (granted.checkpointIntervalMs <= 0 || granted.proofLifetimeMs <= 0) return false;
    const serverNowMs = nowMs - Math.min(this.#smallestMs, this.#smallestBeforeMs, this.#boundMs);
    return (
      serverNowMs - last.serverTimeMs <= provenIntervals * granted.checkpointIntervalMs &&
      serverNowMs - last.provenThroughMs <= granted.proofLifetimeMs
    );
  }
}
