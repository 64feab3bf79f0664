// What invalidations can name of a service catalog: that it is one (S1). It is a record of its own, and no token has that attribute.

import { hash } from 'node:crypto';
import type { Attribute } from '../core/attributes.ts';
import { uncovered } from '../core/invalidation-index.ts';
import type { TaggedAttributes, Tagger } from '../core/tag.ts';
import type { Looked } from './invalidations.ts';

const attribute: Attribute = { dimension: 'catalog', value: 'catalog' };

/** Makes what catalogs are looked up by; what is the same for all of an issuer is made once. */
export class CatalogSubjects {
  readonly #tagger: Tagger;
  readonly #attributes = new Map<string, TaggedAttributes>();

  constructor(tagger: Tagger) {
    this.#tagger = tagger;
  }

  /** The catalog of this name. It has a place in a window of its own, the same on every sidecar (S7). */
  of(issuer: string, catalogName: string): Looked {
    return {
      attributes: this.#attributesOf(issuer),
      issuedAtMs: undefined,
      canAsk: true,
      fingerprint: hash('sha256', `${issuer} ${catalogName}`, 'hex').slice(0, 32),
      covering: uncovered,
      checkedRevision: -1,
    };
  }

  #attributesOf(issuer: string): TaggedAttributes {
    const there = this.#attributes.get(issuer);
    if (there) return there;
    const made = this.#tagger.attributes(issuer, [attribute], []);
    this.#attributes.set(issuer, made);
    return made;
  }
}
