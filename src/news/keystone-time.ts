// The times that Keystone writes, in its four spellings; all of them UTC.

// The envelope of a notification `2026-11-21 17:55:58.123456`, without its fraction where that is 0; a CADF event
// `2026-11-21T17:55:58.123456+0000`; a token and a revocation event `2026-11-21T17:55:58.000000Z`; an event's `expires_at` `…58Z`.
const spelling = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:Z|([+-])(\d{2}):?(\d{2}))?$/;

/** In milliseconds since the epoch, what is finer cut off; undefined where it is no such time, or none of the calendar. */
export function keystoneTimeMs(text: unknown): number | undefined {
  const match = typeof text === 'string' ? spelling.exec(text) : null;
  if (match === null) return undefined;
  const [, date = '', time = '', fraction = '', sign, hours = '0', minutes = '0'] = match;
  const wholeMs = Date.parse(`${date}T${time}Z`);
  // Date.parse takes 30 February for 2 March.
  if (Number.isNaN(wholeMs) || new Date(wholeMs).toISOString() !== `${date}T${time}.000Z`) return undefined;
  const offsetMs = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return wholeMs + Number(fraction.padEnd(3, '0').slice(0, 3)) - (sign === '-' ? -offsetMs : offsetMs);
}
