// The logger: pino's JSON lines, or short ones for a person at a terminal.

import { pino } from 'pino';
import type { AuditLine, Clock, Logger } from '../ports.ts';
import { redact, redactText } from './redact.ts';

/** The least level that is written. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** `json`: one object a line; `pretty`: time, level, message and fields, for people. */
export type LogFormat = 'json' | 'pretty';

/** Where lines go; each ends in a newline. */
export interface LineSink {
  write(line: string): unknown;
}

/** A logger that can also write audit lines. */
export interface LineLog extends Logger {
  /** Writes an audit line at level info with `audit: true`, whatever the least level is: it is no chatter. */
  audit(line: AuditLine): void;
}

/** What a logger is made of. */
export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly sink: LineSink;
  readonly clock: Clock;
}

/** A logger over `sink`. It never throws, and what it writes has gone through `redact`. */
export function createLog({ level, format, sink, clock }: LogOptions): LineLog {
  const lines = pino(
    {
      level,
      base: null,
      messageKey: 'message',
      timestamp: () => `,"time":"${new Date(clock.nowMs()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    format === 'json' ? sink : { write: (line: string) => sink.write(prettyLine(line)) },
  );
  const audits = lines.child({ audit: true }, { level: 'info' });

  const writer =
    (name: LogLevel) =>
    (fields: object, message: string): void => {
      if (lines.isLevelEnabled(name)) attempt(() => lines[name](fieldsOf(fields), redactText(message)));
    };
  return {
    debug: writer('debug'),
    info: writer('info'),
    warn: writer('warn'),
    error: writer('error'),
    audit: (line) => attempt(() => audits.info(fieldsOf(line), `${line.act} ${redactText(line.outcome)}`)),
  };
}

// A line that cannot be made (a getter that throws) or written (no room, no reader) must not fail the call that it tells of, and there is
// nowhere left to say so.
function attempt(write: () => void): void {
  try {
    write();
  } catch (_error) {
    return;
  }
}

// Fields with names that a line has of its own would be a second one in the same object.
const ownNames: ReadonlySet<string> = new Set(['level', 'time', 'message', 'audit']);

function fieldsOf(fields: object): object {
  const told = redact(fields instanceof Error ? { error: fields } : fields);
  return Object.fromEntries(Object.entries(told ?? {}).map(([name, value]) => [ownNames.has(name) ? `${name}_` : name, value]));
}

function prettyLine(json: string): string {
  const { level, time, message, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const told = Object.entries(fields).map(([name, value]) => `${name}=${prettyValue(value)}`);
  const head = `${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${String(message)}`;
  // Control characters would let whoever chooses a field's value write on the terminal.
  const line = [head, ...told]
    .join('  ')
    .replaceAll(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `${line}\n`;
}

function prettyValue(value: unknown): string {
  return typeof value === 'string' && /^[\w.:/@-]+$/.test(value) ? value : JSON.stringify(value);
}
