// Telemetry: metrics for Prometheus, lines for people and machines, and the audit trail.

import type { Clock, Telemetry } from './ports.ts';
import { openAuditFile } from './telemetry/audit-file.ts';
import { sampleEventLoop } from './telemetry/event-loop.ts';
import { createInstruments } from './telemetry/instruments.ts';
import { createLog, type LineSink, type LogFormat, type LogLevel } from './telemetry/log.ts';
import { openOutput } from './telemetry/output.ts';

/** What telemetry is made of. */
export interface TelemetryOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Where log lines go; without one, to standard output, at most 1 MiB of them waiting: beyond it lines are dropped. */
  readonly destination?: LineSink;
  /** Path; without one, audit lines go to the log with `audit: true`. */
  readonly auditFile?: string | undefined;
  /** Of Sidegate, for `sidegate_build_info`. */
  readonly version: string;
  readonly clock: Clock;
}

/** Telemetry that can be scraped and closed. */
export interface RunningTelemetry extends Telemetry {
  /** All metrics, in Prometheus' text format 0.0.4. */
  metrics(): Promise<string>;
  /** Writes what is waiting, for a second at most, and closes the audit file. Lines after it are dropped; counters go on. */
  close(): Promise<void>;
}

/**
 * Starts telemetry. Audit lines that their file does not take go to the log.
 * Throws FAILED_PRECONDITION / AUDIT_FILE when the audit file cannot be opened.
 */
export function createTelemetry(options: TelemetryOptions): RunningTelemetry {
  const { clock, destination } = options;
  const output =
    destination === undefined ? openOutput(1, clock) : { write: destination.write.bind(destination), close: async () => undefined };
  let closed = false;
  const sink: LineSink = { write: (line) => (closed ? undefined : output.write(line)) };
  const { audit: auditInLog, ...log } = createLog({ level: options.level, format: options.format, sink, clock });
  const auditFile = options.auditFile === undefined ? undefined : openAuditFile(options.auditFile, { clock, log });

  const instruments = createInstruments();
  instruments.gauge('sidegate_build_info', { version: options.version, node: process.versions.node }, () => 1);
  const eventLoop = sampleEventLoop(instruments.histogram('sidegate_event_loop_delay_seconds').observe);

  return {
    counter: instruments.counter,
    histogram: instruments.histogram,
    gauge: instruments.gauge,
    log,
    audit(line) {
      if (auditFile?.append(line) !== true) auditInLog(line);
    },
    async metrics() {
      await eventLoop.fold();
      return instruments.metrics();
    },
    async close() {
      if (closed) return;
      closed = true;
      eventLoop.stop();
      auditFile?.close();
      await output.close();
    },
  };
}
