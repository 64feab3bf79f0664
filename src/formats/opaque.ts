// Opaque tokens: nothing can be read from them; whoever issued them is asked.

import type { TokenFormat, Upstream } from '../ports.ts';

/** The format whose reading is the authority's answer. Throws what `upstream` throws. */
export function createOpaqueFormat(upstream: Upstream): TokenFormat {
  return {
    name: 'opaque',
    read: (raw, signal, options) => upstream.ask(raw, signal, options),
    health: () => upstream.health(),
  };
}
