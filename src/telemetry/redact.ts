// Keeps secrets out of lines, whatever somebody logs.

const hidden = '[redacted]';

// A field is secret by the last word of its name: `token`, `accessToken`, `client_secret`; but not `tokenId` or `token_size`.
const secretNames: ReadonlySet<string> = new Set(['token', 'secret', 'password', 'authorization', 'raw', 'credential', 'cookie']);

// Where a raw token stands in a text it is nearly always one of these: a JWS, a Fernet token, a PKIZ or PKI token (a line of a certificate's
// PEM is shorter), or what follows a scheme of RFC 9110.
const tokenShapes =
  /\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}|\bgAAAA[\w-]{16,}={0,2}|\bPKIZ_[\w-]{8,}={0,2}|\bMII[\w+/-]{64,}={0,2}|\b(?:Bearer|Basic) +[\w.~+/-]+=*/g;

// Limits of one line: it must not hold what an upstream sent, and a circle must end.
const maxText = 4_096;
const maxItems = 64;
const maxDepth = 6;

/**
 * A copy of `value` that may be written: plain objects, arrays, texts and numbers. Fields with secret names say `[redacted]` at any depth,
 * whatever they hold but a number or boolean; texts lose what looks like a token and all beyond 4,096 characters; bytes tell only how many they are;
 * an error tells name, code, reason, message, frames and cause. At most 6 levels and 64 items a level.
 */
export function redact(value: unknown, depth: number = 0): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return undefined;
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'no date' : value.toISOString();
  if (depth >= maxDepth) return '[deeper]';
  if (value instanceof Error) return redactError(value, depth);
  if (value instanceof Set || Array.isArray(value))
    return Array.from(value, (item) => item)
      .slice(0, maxItems)
      .map((item) => redact(item, depth + 1));
  return redactFields(value instanceof Map ? value : Object.entries(value), depth);
}

/** `text` without what looks like a token, at most 4,096 characters of it. */
export function redactText(text: string): string {
  // Cut first, with room for a token that the cut would hide the end of: masking all of a huge text would cost its length.
  const masked = text.slice(0, 2 * maxText).replaceAll(tokenShapes, hidden);
  return text.length <= maxText ? masked : `${masked.slice(0, maxText)}…`;
}

function redactFields(entries: Iterable<[unknown, unknown]>, depth: number): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  let left = maxItems;
  for (const [key, value] of entries) {
    if (left-- === 0) break;
    const name = redactText(String(key));
    fields[name] = isSecret(name) && holdsText(value) ? hidden : redact(value, depth + 1);
  }
  return fields;
}

function isSecret(name: string): boolean {
  const lastWord =
    name
      .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
      .toLowerCase()
      .split(/[^a-z0-9]+/)
      .at(-1) ?? '';
  return secretNames.has(lastWord) || (lastWord.endsWith('s') && secretNames.has(lastWord.slice(0, -1)));
}

// Counts and flags (`tokens: 18402`) are no secrets.
function holdsText(value: unknown): boolean {
  return value !== undefined && value !== null && typeof value !== 'number' && typeof value !== 'boolean';
}

function redactError(error: Error, depth: number): Record<string, unknown> {
  const { name, code, reason, cause } = error as Error & { readonly code?: unknown; readonly reason?: unknown };
  const told: Record<string, unknown> = {
    name,
    // A parser quotes what it could not read: a token, or what an upstream sent.
    message: error instanceof SyntaxError ? '[its message quotes the input]' : redactText(error.message),
    // Only the frames: the head of a stack is the message again.
    stack: redactText(
      (error.stack ?? '')
        .split('\n')
        .filter((line) => line.startsWith('    at '))
        .join('\n'),
    ),
  };
  if (typeof code === 'string' || typeof code === 'number') told['code'] = redact(code);
  if (typeof reason === 'string') told['reason'] = redactText(reason);
  if (cause !== undefined) told['cause'] = redact(cause, depth + 1);
  return told;
}
