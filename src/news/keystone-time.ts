// Times as Keystone and oslo.messaging write them: five spellings of UTC.

const spelling = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:Z|\+00:?00)?$/;

/**
 * In milliseconds since the epoch, without what is finer. Undefined for anything else. `2026-11-21 17:55:58.579514` and the same
 * without its fraction (an envelope's `timestamp`: Python leaves out a fraction of 0), `2026-11-21T17:55:58.578651+0000` (CADF's
 * `eventTime`), `2026-11-21T17:55:58.000000Z` (a token's, a revocation event's) and without its fraction (that event's `expires_at`).
 */
export function keystoneTime(text: unknown): number | undefined {
  const [, day, time, fraction = ''] = (typeof text === 'string' && spelling.exec(text)) || [];
  if (day === undefined || time === undefined) return undefined;
  const seconds = `${day}T${time}`;
  const atMs = Date.parse(`${seconds}Z`);
  // Date.parse takes 30 February for 2 March.
  if (Number.isNaN(atMs) || !new Date(atMs).toISOString().startsWith(seconds)) return undefined;
  return atMs + Number(fraction.slice(0, 3).padEnd(3, '0'));
}

/** The whole second that it is in. */
export function secondOf(atMs: number): number {
  return Math.floor(atMs / 1000) * 1000;
}
