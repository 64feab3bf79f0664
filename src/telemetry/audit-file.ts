// The audit file: one JSON line for each act that an operator may have to account for.

import { closeSync, openSync, writeSync } from 'node:fs';
import { SidecarError } from '../core/errors.ts';
import type { AuditLine, Clock, Logger } from '../ports.ts';
import { redact } from './redact.ts';

// Milliseconds between two lines about a file that cannot be written.
const complainEveryMs = 60_000;

/** An open audit file. */
export interface AuditFile {
  /** Appends a line and answers whether it is in the file. Never throws. */
  append(line: AuditLine): boolean;
  close(): void;
}

/**
 * Opens `path` for appending; a new one may be read by its owner alone (0600), the mode of an old one is left alone.
 * Lines are written before `append` returns: in order, and there when the process is killed. A failure is logged once a minute.
 * Throws FAILED_PRECONDITION / AUDIT_FILE when it cannot be opened.
 */
export function openAuditFile(path: string, { clock, log }: { readonly clock: Clock; readonly log: Logger }): AuditFile {
  const file = open(path);
  let isOpen = true;
  let torn = false;
  let complainedAtMs = Number.NEGATIVE_INFINITY;

  return {
    append(line) {
      if (!isOpen) return false;
      try {
        const { act, ...rest } = redact(line) as Record<string, unknown>;
        const json = JSON.stringify({ time: new Date(clock.nowMs()).toISOString(), act, ...rest });
        // What a full disk cut short stays a line of its own: the next one must be readable.
        const bytes = Buffer.from(torn ? `\n${json}\n` : `${json}\n`);
        const written = writeSync(file, bytes);
        torn = written < bytes.length;
        if (torn) throw new Error(`only ${written} of ${bytes.length} bytes were written`);
        return true;
      } catch (error) {
        // The act itself has happened and is in the journal: failing it now would be a lie.
        if (clock.monotonicMs() - complainedAtMs >= complainEveryMs) {
          complainedAtMs = clock.monotonicMs();
          log.error({ file: path, error }, 'the audit file cannot be written: audit lines go to the log');
        }
        return false;
      }
    },
    close() {
      if (isOpen) closeSync(file);
      isOpen = false;
    },
  };
}

function open(path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (cause) {
    throw new SidecarError('FAILED_PRECONDITION', `the audit file ${path} cannot be opened`, { reason: 'AUDIT_FILE', cause });
  }
}
