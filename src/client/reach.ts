// How far an invalidation has gone, in the client's words and on the wire.

import { Reach as ReachMessage } from '../gen/sidegate/v1/token_service.ts';

/**
 * Each includes those before. `sidecar`: durable and applied in the one that is asked. `shared`: in the log that the sidecars of its fleet
 * share. `fleet`: applied by every one of them that answers without saying that it is degraded.
 */
export type Reach = 'sidecar' | 'shared' | 'fleet';

const reaches: { readonly [reach in Reach]: ReachMessage } = {
  sidecar: ReachMessage.SIDECAR,
  shared: ReachMessage.SHARED,
  fleet: ReachMessage.FLEET,
};
const names = ['sidecar', 'shared', 'fleet'] as const;

/** For the wire. */
export function reachMessage(reach: Reach): ReachMessage {
  return reaches[reach];
}

/** `unknown`: not said, or a reach newer than this client. */
export function reachFromMessage(message: ReachMessage): Reach | 'unknown' {
  return names.find((name) => reaches[name] === message) ?? 'unknown';
}
