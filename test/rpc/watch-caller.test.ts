// What a stream's caller may do ends with its token, also in the middle of the stream.

import { credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import { TokenServiceClient } from '../../src/gen/sidegate/v1/token_service.ts';
import { systemClock } from '../../src/sidecar.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
import { startSidecar } from '../fakes/sidecar.ts';
import { openWatcher } from '../fakes/watcher.ts';

it('a Watch with details does not outlive its caller’s token', async () => {
  let aheadMs = 0;
  const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs };
  const central = createFakeIssuer();
  const issuedAtMs = Math.floor(Date.now() / 1000) * 1000 - 1000;
  const life = { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000 };
  central.knows('admin', { identity: 'a', token: { ...life, user: { id: 'boss' }, roles: [{ id: 'r', name: 'admin' }] } });
  const sidecar = await startSidecar({ fakes: [central], clock });
  const client = new TokenServiceClient(sidecar.tcp ?? '', credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set('authorization', 'Bearer admin');
  const watcher = openWatcher(client, { includeDetails: true, checkpointInterval: { seconds: 0n, nanos: 100_000_000 } }, metadata);
  try {
    await watcher.until((it) => it.checkpoints.length > 0);
    await sidecar.revoke({ target: { $case: 'token', value: 'admin' } });
    aheadMs += 6000;

    const end: ServiceError | undefined = await watcher.ended;
    expect(end?.code).toBe(status.UNAUTHENTICATED);
  } finally {
    client.close();
    await sidecar.stop();
  }
});
