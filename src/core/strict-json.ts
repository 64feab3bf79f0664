// JSON of which there can be only one reading: no member twice, no broken text, no abyss.

/** Deeper than this is not JSON that anybody wrote about a token. */
const maxDepth = 32;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The value that `bytes` hold, or undefined where they hold none. Stricter than JSON.parse, which silently takes the last of two
 * members of one name while other readers take the first: such a document says two things (RFC 8725 §2.4, RFC 7519 §4).
 * Refused: not UTF-8, a byte order mark, not JSON, a member twice at any depth, nesting beyond 32, a lone surrogate (it would be
 * written as the same bytes as another one).
 */
export function parseStrictJson(bytes: Uint8Array): unknown {
  try {
    const text = utf8.decode(bytes);
    const value: unknown = JSON.parse(text);
    return hasOneReading(text) ? value : undefined;
  } catch (_notJson) {
    // Its message quotes the text: it goes no further.
    return undefined;
  }
}

/** `text` is known to be JSON, so a string before a colon is a name. */
function hasOneReading(text: string): boolean {
  /** The names so far of each object that is open; undefined: a list. */
  const open: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '{') open.push(new Set());
    else if (character === '[') open.push(undefined);
    else if (character === '}' || character === ']') open.pop();
    else if (character === '"') {
      const end = endOfString(text, at);
      const value = String(JSON.parse(text.slice(at, end)));
      if (/\p{Surrogate}/u.test(value)) return false;
      const names = open.at(-1);
      if (names !== undefined && isBeforeColon(text, end)) {
        if (names.has(value)) return false;
        names.add(value);
      }
      at = end - 1;
    }
    if (open.length > maxDepth) return false;
  }
  return true;
}

/** Exclusive. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

function isBeforeColon(text: string, end: number): boolean {
  let at = end;
  while (text[at] === ' ' || text[at] === '\t' || text[at] === '\n' || text[at] === '\r') at += 1;
  return text[at] === ':';
}
