// Access rules of application credentials: which requests they allow.

import type { AccessRule } from './token.ts';

/** One request to one service. */
export interface Access {
  /** Service type of the catalog, for example `compute`. */
  readonly service: string;
  /** HTTP method, upper case. */
  readonly method: string;
  /** Without query. */
  readonly path: string;
}

/**
 * Whether one of `rules` allows the request: same service, same method, and a path that fits. In a rule's path `*` and `{name}` stand
 * for one segment that is not empty, `**` for anything; everything else for itself. No rules allow nothing.
 * Cost: length of the rule's path × length of the request's, whatever they hold.
 * Follows: keystonemiddleware's auth_token (which does not escape what is special in regular expressions; we do).
 */
export function allows(rules: readonly AccessRule[], { service, method, path }: Access): boolean {
  return rules.some((rule) => rule.service === service && rule.method === method && fits(piecesOf(rule.path), path));
}

type Piece = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'segment' | 'any' };

function piecesOf(pattern: string): readonly Piece[] {
  return (pattern.match(/\*\*|\*|\{[^}]*\}|[^*{]+|\{/g) ?? []).map((text) => {
    if (text === '**') return { kind: 'any' };
    return text === '*' || (text.startsWith('{') && text.endsWith('}')) ? { kind: 'segment' } : { kind: 'text', text };
  });
}

/** The places in `path` up to which the pieces so far fit, carried on piece by piece: no pattern makes it go back. */
function fits(pieces: readonly Piece[], path: string): boolean {
  // One mark for each place, 0 to the end: users write the rules, and a set of places would take a second for the worst of them.
  let places = new Uint8Array(path.length + 1);
  places[0] = 1;
  for (const piece of pieces) {
    const next = new Uint8Array(path.length + 1);
    if (piece.kind === 'text') {
      for (let at = 0; at < path.length; at += 1) {
        if (places[at] === 1 && path.startsWith(piece.text, at)) next[at + piece.text.length] = 1;
      }
    } else if (piece.kind === 'any') {
      const first = places.indexOf(1);
      if (first >= 0) next.fill(1, first);
    } else {
      // From each place to the end of its segment; places within one segment share that walk.
      for (let at = 0, isOpen = false; at < path.length; at += 1) {
        isOpen = (isOpen || places[at] === 1) && path[at] !== '/';
        if (isOpen) next[at + 1] = 1;
      }
    }
    places = next;
  }
  return places[path.length] === 1;
}
