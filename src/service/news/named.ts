// Whom the source that can be asked has named, whichever sidecar of the fleet has asked it: each once.

import { appendedAtMsOf, entryIdOf } from '../../core/entry-id.ts';
import type { Entry } from '../../core/invalidation.ts';
import type { News } from '../../ports.ts';
import { callerOf, requestIdOf } from './drafts.ts';

/** Who wants to know. */
export interface NamedParts {
  readonly issuer: string;
  /** Of the source. */
  readonly source: string;
  /** Is told of each, when it is applied here. */
  readonly told: (news: News) => void;
}

/** Beyond it those that were named first may be named again, which then explains one message too many. */
const mostNamed = 10_000;

/** Remembers entries by their ids, which are the same wherever the news are told. */
export class Named {
  readonly #parts: NamedParts;
  readonly #ids = new Set<string>();

  constructor(parts: NamedParts) {
    this.#parts = parts;
  }

  /** Our own source has told it. */
  told(news: News): void {
    const name = { caller: callerOf(this.#parts.issuer), requestId: requestIdOf(news, 0) };
    if (this.#isFirst(entryIdOf(name, news.atMs))) this.#parts.told(news);
  }

  /** Another sidecar has made this entry. */
  heard({ id, effect, selector, origin }: Entry): void {
    const { issuer, source, told } = this.#parts;
    const atMs = appendedAtMsOf(id);
    if (origin.source !== `${issuer}/${source}` || effect !== 'REVOKE' || selector.kind !== 'fit' || atMs === undefined) return;
    if (!this.#isFirst(id)) return;
    told({ id, event: origin.event ?? '', atMs, about: [], invalidations: [{ effect, conditions: selector.conditions }] });
  }

  #isFirst(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    const [oldest] = this.#ids;
    if (this.#ids.size > mostNamed && oldest !== undefined) this.#ids.delete(oldest);
    return true;
  }
}
