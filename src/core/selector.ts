// Which tokens an invalidation is about (S3).

import type { Dimension } from './attributes.ts';

/** One (dimension, value) that a token must have. */
export interface Condition {
  readonly dimension: Dimension;
  readonly value: string;
}

/**
 * Everything (of one issuer, if named), or the tokens that fit every condition. Conditions other than `fingerprint` are about
 * tokens of `issuer`.
 */
export type Selector =
  | { readonly kind: 'everything'; readonly issuer?: string }
  | { readonly kind: 'fit'; readonly issuer?: string; readonly conditions: readonly Condition[] };
