// Who a journal is: its id, since when, and how it is laid out.

import { SidecarError } from '../core/errors.ts';

/** Made with the journal, never changed. */
export interface JournalIdentity {
  /** How its keys are laid out; 1 is the only one there is. */
  readonly layout: number;
  readonly id: string;
  readonly bornAtMs: number;
}

const layout = 1;

// Crockford's base32: 32 characters that people can read to each other, and no sign that a cursor or a command line has a use for.
const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** A new journal: 16 characters, 80 random bits. */
export function newIdentity(bornAtMs: number, random: (sizeBytes: number) => Uint8Array): JournalIdentity {
  const id = Array.from(random(16), (byte) => alphabet.charAt(byte % alphabet.length)).join('');
  return { layout, id, bornAtMs };
}

/** What is written; undefined where it is no identity. Throws FAILED_PRECONDITION / JOURNAL_NEWER for a layout that came later. */
export function identityIn(text: string, dir: string): JournalIdentity | undefined {
  const written = parsed(text);
  if (written?.layout !== undefined && written.layout !== layout) {
    const message = `the journal in ${dir} was written by a newer sidegate: start that version, or give this one a directory of its own`;
    throw new SidecarError('FAILED_PRECONDITION', message, { reason: 'JOURNAL_NEWER' });
  }
  if (typeof written?.id !== 'string' || typeof written.bornAtMs !== 'number') return undefined;
  return { layout, id: written.id, bornAtMs: written.bornAtMs };
}

function parsed(text: string): Partial<Record<keyof JournalIdentity, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch (error) {
    // Damaged: the caller says so, with the directory.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
