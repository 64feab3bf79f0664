// The core as a library, for other token-like protocols: pure, without I/O, clock or timer.

export * from './access-rules.ts';
export * from './attributes.ts';
export * from './catalog.ts';
export * from './claims.ts';
export * from './currentness.ts';
export * from './decision.ts';
export * from './dispatch.ts';
export * from './entry-id.ts';
export * from './errors.ts';
export * from './history.ts';
export * from './invalidation.ts';
export * from './invalidation-index.ts';
export * from './raw.ts';
export * from './selector.ts';
export * from './spread.ts';
export * from './strict-json.ts';
export * from './tag.ts';
export * from './token.ts';
