// Telemetry that keeps all it is told, for tests to look at.

import type { AuditLine, Labels, Logger, Telemetry } from '../../src/ports.ts';
import { shapeOf } from '../../src/telemetry/metric-table.ts';

/** A line that was logged. */
export interface LoggedLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** Telemetry and what it has been told. */
export interface FakeTelemetry extends Telemetry {
  /** The lines logged so far, oldest first. */
  readonly lines: readonly LoggedLine[];
  /** The audit lines so far, oldest first. */
  readonly audits: readonly AuditLine[];
  /** The sum of the counters of this name that carry at least these labels; 0 where there is none. */
  count(name: string, labels?: Labels): number;
  /** What the histograms of this name that carry at least these labels observed, oldest first within each. */
  observed(name: string, labels?: Labels): readonly number[];
  /** What the gauge of this name with at least these labels reads now; undefined where none is bound. */
  gaugeValue(name: string, labels?: Labels): number | undefined;
  /** All of it as one string, for tests that look for secrets. */
  everything(): string;
}

interface Series<T> {
  readonly name: string;
  readonly labels: Labels;
  readonly value: T;
}

/**
 * Telemetry that remembers everything. As the real one it throws TypeError for a metric that src/telemetry/metric-table.ts does not
 * have, or has as another kind or with other labels. Two bindings of one name and labels add to one another.
 */
export function createFakeTelemetry(): FakeTelemetry {
  const counters: Series<{ total: number }>[] = [];
  const histograms: Series<number[]>[] = [];
  const gauges: Series<() => number>[] = [];
  const lines: LoggedLine[] = [];
  const audits: AuditLine[] = [];

  const record =
    (level: LoggedLine['level']) =>
    (fields: object, message: string): void => {
      lines.push({ level, fields: { ...fields }, message });
    };
  const log: Logger = { debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') };

  return {
    counter(name, labels = {}) {
      shapeOf('counter', name, labels);
      const value = { total: 0 };
      counters.push({ name, labels, value });
      return {
        add(n = 1) {
          value.total += n;
        },
      };
    },
    histogram(name, labels = {}) {
      shapeOf('histogram', name, labels);
      const value: number[] = [];
      histograms.push({ name, labels, value });
      return { observe: (seen) => void value.push(seen) };
    },
    gauge(name, labels, read) {
      shapeOf('gauge', name, labels);
      gauges.push({ name, labels, value: read });
    },
    log,
    audit: (line) => void audits.push(line),
    lines,
    audits,
    count: (name, labels = {}) => fitting(counters, name, labels).reduce((sum, { value }) => sum + value.total, 0),
    observed: (name, labels = {}) => fitting(histograms, name, labels).flatMap(({ value }) => value),
    gaugeValue: (name, labels = {}) => fitting(gauges, name, labels).at(-1)?.value(),
    everything: () => JSON.stringify({ lines, audits, counters, histograms, gauges }, withErrors),
  };
}

function fitting<T>(series: readonly Series<T>[], name: string, labels: Labels): Series<T>[] {
  const wanted = Object.entries(labels);
  return series.filter((one) => one.name === name && wanted.every(([label, value]) => one.labels[label] === value));
}

// JSON drops what an Error says, and fails on a bigint.
function withErrors(_key: string, value: unknown): unknown {
  if (value instanceof Error) return { ...value, message: value.message, stack: value.stack, cause: value.cause };
  return typeof value === 'bigint' ? value.toString() : value;
}
