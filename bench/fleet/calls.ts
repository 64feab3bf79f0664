// Calls of a fleet under test that `sidegate/client` does not make: a Revoke that waits for the fleet.

import { credentials, Metadata } from '@grpc/grpc-js';
import { Reach, RevokeRequest, type RevokeResponse, TokenServiceClient } from '../../src/gen/sidegate/v1/token_service.ts';

/** How far a revocation is to have gone before it is acknowledged, and how far it had. */
export type Reached = 'sidecar' | 'shared' | 'fleet';

/** An acknowledged revocation. */
export interface Acknowledged {
  readonly entryId: string;
  readonly reach: Reached;
}

const reaches = { sidecar: Reach.SIDECAR, shared: Reach.SHARED, fleet: Reach.FLEET } as const;
const stubs = new Map<string, TokenServiceClient>();

/** One Revoke by possession at `tcp`, not tried again. Rejects where it was not acknowledged. */
export function revokeAt(tcp: string, token: string, waitFor: Reached, timeoutMs: number): Promise<Acknowledged> {
  const stub = stubs.get(tcp) ?? new TokenServiceClient(tcp, credentials.createInsecure());
  stubs.set(tcp, stub);
  const request = RevokeRequest.fromPartial({ target: { $case: 'token', value: token }, waitFor: reaches[waitFor] });
  return new Promise((resolve, reject) => {
    stub.revoke(request, new Metadata(), { deadline: Date.now() + timeoutMs }, (error, response) => {
      if (error) reject(error);
      else resolve({ entryId: response.entryId, reach: reachOf(response) });
    });
  });
}

/** The connections of a process that has ended: the next one listens elsewhere. */
export function forgetCalls(tcp: string): void {
  stubs.get(tcp)?.close();
  stubs.delete(tcp);
}

function reachOf({ reach }: RevokeResponse): Reached {
  if (reach === Reach.FLEET) return 'fleet';
  return reach === Reach.SHARED ? 'shared' : 'sidecar';
}
