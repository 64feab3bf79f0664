// Positions of a journal: on the wire, and as the text JOURNAL:REV that people copy (W1).

import { SidecarError } from '../core/errors.ts';
import { type Cursor, revision } from '../core/invalidation.ts';
import type { Cursor as CursorMessage } from '../gen/sidegate/v1/token_service.ts';

const journalId = /^[A-Za-z0-9_-]{1,64}$/;
const revisionText = /^[0-9]{1,16}$/;

/** For the wire. */
export function cursorToMessage(cursor: Cursor): CursorMessage {
  return { journal: cursor.journal, revision: BigInt(cursor.revision) };
}

/**
 * From the wire; `undefined` when absent.
 * Throws INVALID_ARGUMENT / CURSOR_MALFORMED unless the journal is 1 to 64 of `A-Z a-z 0-9 _ -` and the revision a safe integer.
 */
export function cursorFromMessage(message: CursorMessage | undefined): Cursor | undefined {
  if (message === undefined) return undefined;
  if (!journalId.test(message.journal) || message.revision > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed();
  return { journal: message.journal, revision: revision(Number(message.revision)) };
}

/** As text: `JOURNAL:REV`. */
export function formatCursor(cursor: Cursor): string {
  return `${cursor.journal}:${cursor.revision}`;
}

/** From text. Throws INVALID_ARGUMENT / CURSOR_MALFORMED, as `cursorFromMessage`. */
export function parseCursor(text: string): Cursor {
  const [journal = '', digits = '', ...more] = text.split(':');
  const position = Number(digits);
  if (more.length > 0 || !journalId.test(journal) || !revisionText.test(digits) || !Number.isSafeInteger(position)) throw malformed();
  return { journal, revision: revision(position) };
}

function malformed(): SidecarError {
  return new SidecarError('INVALID_ARGUMENT', 'a cursor is JOURNAL:REVISION, as it was received', { reason: 'CURSOR_MALFORMED' });
}
