// S4: an authority whose clock is ahead of ours, within the skew that is allowed, gives no token a way around its revocation.

import { describe, expect, it } from 'vitest';
import { createFakeIssuer, lifeRules } from '../fakes/issuer.ts';
import { startSidecar } from '../fakes/sidecar.ts';

describe('S4 a token of an authority whose clock is ahead', () => {
  it('is good at once, and dies with its user for good', async () => {
    const fake = createFakeIssuer({ name: 'central', life: lifeRules({ skewMs: 2000 }) });
    const issuedAtMs = Math.floor((Date.now() + 1800) / 1000) * 1000;
    fake.knows('t', { token: { user: { id: 'alice' }, issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000 } });
    const sidecar = await startSidecar({ fakes: [fake] });
    try {
      expect(await sidecar.validate({ token: 't' })).toMatchObject({ status: 'OK', response: { active: true } });
      const selector = { issuer: 'central', userId: 'alice' };
      const revoked = await sidecar.revoke({ target: { $case: 'selector', value: selector } }, { over: 'socket' });
      expect(revoked.status).toBe('OK');

      expect((await sidecar.validate({ token: 't' })).response).toMatchObject({ active: false, reason: 3 });
      await new Promise((resolve) => setTimeout(resolve, 2100));
      // Its issue time has come meanwhile.
      expect((await sidecar.validate({ token: 't' })).response).toMatchObject({ active: false, reason: 3 });
    } finally {
      await sidecar.stop();
    }
  });
});
