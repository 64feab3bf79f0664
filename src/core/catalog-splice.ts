// The service catalog cut out of Keystone's own bytes of a token, and put back to the byte.

/** A token's bytes in two: what is its own, and the catalog that it shares with the other tokens of its user and scope. */
export interface CutToken {
  /** The text of the `token` object without its member `catalog`. */
  readonly claims: string;
  /** Where in `claims`, in bytes of UTF-8, the catalog stood; -1: it was not there. */
  readonly catalogAt: number;
  /** The text of the catalog; '' where it was not there. */
  readonly catalog: string;
}

/** From `at` up to `end`, which is exclusive. */
interface Span {
  readonly at: number;
  readonly end: number;
}

interface Member {
  readonly name: string;
  /** With its quotes. */
  readonly key: Span;
  readonly value: Span;
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const bytes = new TextEncoder();
const [quote, backslash, comma, colon, openBrace, closeBrace, openBracket, closeBracket] = [...bytes.encode('"\\,:{}[]')];

/** What Keystone writes after the catalog (`render_token_response_from_model`). */
const afterCatalog: ReadonlySet<string> = new Set(['service_providers', 'OS-OAUTH1', 'application_credential', 'oauth2_credential']);

/**
 * Cuts. `body` is the whole body of Keystone's answer, JSON that parseStrictJson has read to an object with an object `token`.
 *
 * What is cut beside the key and the value is one comma with the space around it: the one before the member, with `catalogAt` at the
 * end of the value before it; where it is the first member the one after it, with `catalogAt` at its key. So `claims` is JSON, and
 * what Keystone itself writes for `?nocatalog`. `spliceCatalog` takes the spaces from the other members: a writer that is consistent
 * in them gets its bytes back, as Python's and JavaScript's are; after another the JSON is the same and the space may not be.
 */
export function cutCatalog(body: Uint8Array): CutToken {
  const token = [...membersOf(body)].find(({ name }) => name === 'token')?.value ?? { at: 0, end: body.length };
  const json = body.subarray(token.at, token.end);
  const members = [...membersOf(json)];
  const index = members.findIndex(({ name }) => name === 'catalog');
  const found = members[index];
  if (found === undefined) return { claims: utf8.decode(json), catalogAt: -1, catalog: '' };
  const from = members[index - 1]?.value.end ?? found.key.at;
  const to = index > 0 ? found.value.end : (members[1]?.key.at ?? found.value.end);
  return {
    claims: utf8.decode(json.subarray(0, from)) + utf8.decode(json.subarray(to)),
    catalogAt: from,
    catalog: utf8.decode(json.subarray(found.value.at, found.value.end)),
  };
}

/**
 * Puts `catalog` back where `cutCatalog` found it: the same bytes again. With -1 it goes where Keystone would have written it: before
 * the members that it writes after the catalog, which in most tokens is last. Cost: a look at two members (at all for -1) and a copy.
 */
export function spliceCatalog(claims: Uint8Array, catalogAt: number, catalog: Uint8Array): Uint8Array {
  const at = catalogAt < 0 ? keystonesPlace(claims) : catalogAt;
  const style = styleOf(claims);
  const isFirst = claims[skipSpaceBack(claims, at) - 1] === openBrace;
  const isLast = claims[skipSpace(claims, at)] === closeBrace;
  const before = `${isFirst ? '' : style.comma}"catalog"${style.colon}`;
  const after = isFirst && !isLast ? style.comma : '';
  return joined([claims.subarray(0, at), bytes.encode(before), catalog, bytes.encode(after), claims.subarray(at)]);
}

function keystonesPlace(claims: Uint8Array): number {
  let end: number | undefined;
  for (const { name, key, value } of membersOf(claims)) {
    if (afterCatalog.has(name)) return end ?? key.at;
    end = value.end;
  }
  return end ?? claims.indexOf(openBrace ?? 0) + 1;
}

/** How the writer of `claims` separates: as its first two members show, and as Python's json.dumps does where they do not. */
function styleOf(claims: Uint8Array): { readonly colon: string; readonly comma: string } {
  const members = membersOf(claims);
  const first = members.next().value;
  if (first === undefined) return { colon: ': ', comma: ', ' };
  const second = members.next().value;
  const own = utf8.decode(claims.subarray(first.key.end, first.value.at));
  if (second !== undefined) return { colon: own, comma: utf8.decode(claims.subarray(first.value.end, second.key.at)) };
  const indent = utf8.decode(claims.subarray(claims.indexOf(openBrace ?? 0) + 1, first.key.at));
  return { colon: own, comma: `,${indent || own.slice(own.indexOf(':') + 1)}` };
}

/** The members of the object that `json` is, in their order. Lazy: what is behind the last one taken is not looked at. */
function* membersOf(json: Uint8Array): Generator<Member, undefined> {
  let at = skipSpace(json, 0) + 1;
  for (;;) {
    at = skipSpace(json, at);
    if (json[at] === comma) at = skipSpace(json, at + 1);
    if (json[at] !== quote) return;
    const key = { at, end: endOfValue(json, at) };
    at = skipSpace(json, key.end);
    if (json[at] !== colon) return;
    at = skipSpace(json, at + 1);
    const value = { at, end: endOfValue(json, at) };
    yield { name: String(JSON.parse(utf8.decode(json.subarray(key.at, key.end)))), key, value };
    at = value.end;
  }
}

function endOfValue(json: Uint8Array, start: number): number {
  let depth = 0;
  for (let at = start; at < json.length; at += 1) {
    const byte = json[at];
    if (byte === quote) {
      at += 1;
      while (at < json.length && json[at] !== quote) at += json[at] === backslash ? 2 : 1;
      if (depth === 0) return at + 1;
    } else if (byte === openBrace || byte === openBracket) {
      depth += 1;
    } else if (byte === closeBrace || byte === closeBracket) {
      // At depth 0 it closes what is around this value, a number or a word.
      if (depth === 0) return at;
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (depth === 0 && (byte === comma || isSpace(byte))) {
      return at;
    }
  }
  return json.length;
}

function skipSpace(json: Uint8Array, start: number): number {
  let at = start;
  while (isSpace(json[at])) at += 1;
  return at;
}

function skipSpaceBack(json: Uint8Array, end: number): number {
  let at = end;
  while (at > 0 && isSpace(json[at - 1])) at -= 1;
  return at;
}

// RFC 8259 §2: space, tab, line feed, carriage return.
function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
