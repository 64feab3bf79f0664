// Names that tell nothing: fingerprints of tokens and 64-bit tags of attributes, keyed per deployment.

import { createHmac } from 'node:crypto';
import { type Attribute, type Dimension, dimensions } from './attributes.ts';
import type { Selector } from './selector.ts';

/** One key of the deployment. `id` tells it from every other; `secret` has at least 32 bytes. */
export interface DeploymentKey {
  readonly id: string;
  readonly secret: Uint8Array;
}

/** A tag as two unsigned 32-bit halves, low first: the bytes of the wire's fixed64. */
export interface Tag {
  readonly low: number;
  readonly high: number;
}

/** A token's attributes, ready to be looked up. Two typed arrays, since there is one for every cached token. */
export interface TaggedAttributes {
  /** Low and high half of each tag in turn: as packed fixed64 on the wire. */
  readonly tags: Uint32Array;
  /** The dimension of each tag: its place in `dimensions`, plus 128 where the facts do not tell its value. */
  readonly dimensions: Uint8Array;
}

export const unknownBit = 0x80;

/** Makes names under the deployment's keys. Newest first: it makes tags; every accepted one makes fingerprints (S14). */
export interface Tagger {
  readonly newestKeyId: string;
  /** Every accepted key. */
  readonly keyIds: readonly string[];
  /** 32 hex digits under each accepted key, the newest key's first. */
  fingerprints(digest: string): string[];
  tag(dimension: Dimension, issuer: string, value: string | undefined): Tag;
  /** Tags of a token's attributes and of its fingerprints. */
  attributes(issuer: string, attributes: readonly Attribute[], fingerprints: readonly string[]): TaggedAttributes;
  /**
   * The sets of tags that an invalidation over `selector` can fit, by form order: the first is the selector itself, the others
   * have a dimension replaced by "unknown" (S2).
   */
  tagSets(selector: Selector): TagSet[];
}

/** One conjunction of tags. `exact` is false where a dimension is "unknown": a match is then only a maybe. */
export interface TagSet {
  readonly tags: readonly Tag[];
  readonly dimensions: readonly Dimension[];
  readonly exact: boolean;
}

/** Every token has these, or carries its fingerprint, or none has them: so they are never unknown. */
const alwaysKnown: ReadonlySet<Dimension> = new Set(['everything', 'issuer', 'fingerprint', 'signed_content', 'scope_kind', 'catalog']);
/** Unique in the deployment, not only within an issuer. */
const withoutIssuer: ReadonlySet<Dimension> = new Set(['everything', 'fingerprint']);
/** Tags of what is not told, kept; any beyond are made each time. */
const mostUnknowns = 1_024;
const dimensionNumber = new Map<Dimension, number>(dimensions.map((dimension, number) => [dimension, number]));

/** The place of `dimension` in `dimensions`. */
export function numberOf(dimension: Dimension): number {
  return dimensionNumber.get(dimension) ?? 0;
}

/** `keys`: newest first, at least one. */
export function createTagger(keys: readonly [DeploymentKey, ...DeploymentKey[]]): Tagger {
  const [newest] = keys;
  const derive = (key: DeploymentKey, purpose: string): Buffer => createHmac('sha256', key.secret).update(`sidegate ${purpose}`).digest();
  const fingerprintKeys = keys.map((key) => derive(key, 'fingerprint'));
  const tagKey = derive(newest, 'tag');

  // Each entry is asked for those of its dimensions. Issuers come out of entries too, so their number is nobody's promise.
  const unknowns = new Map<string, Tag>();

  const made = (dimension: Dimension, scope: string, value: string | undefined): Tag => {
    const bytes = createHmac('sha256', tagKey)
      .update(JSON.stringify([dimension, scope, value ?? null]))
      .digest();
    return { low: bytes.readUInt32LE(0), high: bytes.readUInt32LE(4) };
  };
  const tag = (dimension: Dimension, issuer: string, value: string | undefined): Tag => {
    const scope = withoutIssuer.has(dimension) ? '' : issuer;
    if (value !== undefined) return made(dimension, scope, value);
    const name = `${dimension} ${scope}`;
    const known = unknowns.get(name) ?? made(dimension, scope, undefined);
    if (unknowns.size < mostUnknowns) unknowns.set(name, known);
    return known;
  };

  return {
    newestKeyId: newest.id,
    keyIds: keys.map((key) => key.id),
    fingerprints: (digest) =>
      fingerprintKeys.map((key) => createHmac('sha256', key).update(digest, 'latin1').digest().toString('hex', 0, 16)),
    tag,
    attributes(issuer, attributes, fingerprints) {
      const all = [...attributes, ...fingerprints.map((value): Attribute => ({ dimension: 'fingerprint', value }))];
      const tags = new Uint32Array(all.length * 2);
      const numbers = new Uint8Array(all.length);
      all.forEach((attribute, at) => {
        const { low, high } = tag(attribute.dimension, issuer, attribute.value);
        tags[2 * at] = low;
        tags[2 * at + 1] = high;
        numbers[at] = numberOf(attribute.dimension) | (attribute.value === undefined ? unknownBit : 0);
      });
      return { tags, dimensions: numbers };
    },
    tagSets(selector) {
      const issuer = selector.issuer ?? '';
      if (selector.kind === 'everything') {
        const dimension: Dimension = selector.issuer === undefined ? 'everything' : 'issuer';
        const value = selector.issuer ?? 'everything';
        return [{ tags: [tag(dimension, issuer, value)], dimensions: [dimension], exact: true }];
      }
      let sets: TagSet[] = [{ tags: [], dimensions: [], exact: true }];
      for (const { dimension, value } of selector.conditions) {
        const known = tag(dimension, issuer, value);
        const next = sets.map((set) => withTag(set, dimension, known, set.exact));
        if (!alwaysKnown.has(dimension)) {
          const unknown = tag(dimension, issuer, undefined);
          next.push(...sets.map((set) => withTag(set, dimension, unknown, false)));
        }
        sets = next;
      }
      return sets;
    },
  };
}

function withTag(set: TagSet, dimension: Dimension, added: Tag, exact: boolean): TagSet {
  return { tags: [...set.tags, added], dimensions: [...set.dimensions, dimension], exact };
}
