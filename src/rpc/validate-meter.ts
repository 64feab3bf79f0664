// Counts Validate: every answer, every absence of one, and how long it took. Instruments are bound when they are first needed.

import { SidecarError } from '../core/errors.ts';
import type { Telemetry } from '../ports.ts';

/** The metrics of Validate. */
export class ValidateMeter {
  readonly #telemetry: Telemetry;
  readonly #monotonicMs: () => number;
  readonly #counters = new Map<string, { add(n?: number): void }>();
  readonly #durations = new Map<string, { observe(value: number): void }>();

  constructor(telemetry: Telemetry, monotonicMs: () => number) {
    this.#telemetry = telemetry;
    this.#monotonicMs = monotonicMs;
  }

  /** Counts the absence of an answer; answers `error`, to be thrown. */
  unanswered(error: unknown): unknown {
    this.count('', 'no_answer', outcomeOf(error));
    return error;
  }

  /** `reason` is empty where the token is active. */
  count(issuer: string, result: string, reason: string): void {
    // Only an active answer has no reason. For it, the one that is counted all the time, no key is put together.
    const key = reason === '' ? issuer : `${issuer}\0${result}\0${reason}`;
    let counter = this.#counters.get(key);
    if (!counter) {
      counter = this.#telemetry.counter('sidegate_validate_total', { issuer, result, reason });
      this.#counters.set(key, counter);
    }
    counter.add();
  }

  /** Since `startedMs`, monotonic. `provenance` as answers say it: the label is made once, when it is first needed. */
  took(provenance: string, startedMs: number): void {
    let histogram = this.#durations.get(provenance);
    if (!histogram) {
      histogram = this.#telemetry.histogram('sidegate_validate_duration_seconds', { provenance: provenance.toLowerCase() });
      this.#durations.set(provenance, histogram);
    }
    histogram.observe((this.#monotonicMs() - startedMs) / 1000);
  }
}

/** The machine reason of an error, for labels and audit lines. */
export function outcomeOf(error: unknown): string {
  return error instanceof SidecarError ? error.reason : 'INTERNAL';
}
