// What callers have done beyond a plain Revoke, over real gRPC: authorities told, tokens found; and what is written down of it.

import { afterEach, describe, expect, it } from 'vitest';
import { Forward, Forwarding } from '../../src/gen/sidegate/v1/token_service.ts';
import type { Clock } from '../../src/ports.ts';
import type { Issuer } from '../../src/service/issuer.ts';
import { systemClock } from '../../src/sidecar.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
import { type Outcome, startSidecar } from '../fakes/sidecar.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function start(issuer: Partial<Issuer> = {}, clock: Clock = systemClock) {
  const central = createFakeIssuer(issuer);
  const sidecar = await startSidecar({ fakes: [central], clock });
  ends.push(sidecar.stop);
  const issuedAtMs = Math.floor(Date.now() / 1000) * 1000 - 1000;
  const scope = { kind: 'project' as const, project: { id: 'shop', isDomain: false } };
  central.knows('raw-token', {
    identity: 'audit-1',
    token: { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000, user: { id: 'alice' }, scope, roles: [{ id: 'r', name: 'member' }] },
  });
  return { central, sidecar };
}

/** An authority that says so, and what it was told. */
function saying(says: 'accepted' | 'rejected', told: string[]): NonNullable<Issuer['revoke']> {
  return async (raw) => {
    told.push(raw);
    return says;
  };
}

const target = { $case: 'token' as const, value: 'raw-token' };
const shown = ({ status, reason }: Outcome<unknown>): string => (reason === undefined ? status : `${status} ${reason}`);

describe('telling the authority', () => {
  it.each([
    { says: 'accepted' as const, forwarding: Forwarding.ACCEPTED },
    { says: 'rejected' as const, forwarding: Forwarding.REJECTED },
  ])('what it has $says stands in the reply, in the audit line and in the status', async ({ says, forwarding }) => {
    const told: string[] = [];
    const { sidecar } = await start({ revoke: saying(says, told) });
    await sidecar.validate({ token: 'raw-token' });
    const { response } = await sidecar.revoke({ target, forward: Forward.ALWAYS });
    const { response: status } = await sidecar.getStatus();

    expect(response?.forwarding).toBe(forwarding);
    expect(told).toEqual(['raw-token']);
    expect(sidecar.audits().at(-1)).toMatchObject({ act: 'revoke', outcome: `done, forwarded: ${says}` });
    expect(status?.forwardings).toMatchObject([{ issuer: 'central', pendingCount: 0n, [`${says}Count`]: 1n }]);
    expect((await sidecar.validate({ token: 'raw-token' })).response?.active).toBe(false);
  });

  it('what it cannot be told now is pending, and waits in the outbox; the token is dead here all the same', async () => {
    const { sidecar } = await start({
      revoke: async () => {
        throw new Error('nobody answers');
      },
    });
    await sidecar.validate({ token: 'raw-token' });
    const { response } = await sidecar.revoke({ target, forward: Forward.ALWAYS });
    const { response: status } = await sidecar.getStatus();

    expect(response?.forwarding).toBe(Forwarding.PENDING);
    expect(status).toMatchObject({ upstreamOutboxCount: 1n, forwardings: [{ pendingCount: 1n }] });
    expect((await sidecar.validate({ token: 'raw-token' })).response?.active).toBe(false);
  });

  it('is as configured where the request does not say, and never where it says so', async () => {
    const told: string[] = [];
    const { sidecar } = await start({ revokeUpstream: true, revoke: saying('accepted', told) });
    await sidecar.validate({ token: 'raw-token' });
    expect((await sidecar.revoke({ target, forward: Forward.NEVER })).response?.forwarding).toBe(Forwarding.UNSPECIFIED);
    expect(told).toEqual([]);

    expect((await sidecar.revoke({ target })).response?.forwarding).toBe(Forwarding.ACCEPTED);
    expect(told).toEqual(['raw-token']);
  });

  it('demanded of an issuer that cannot be told it is refused, before anything is killed', async () => {
    const { sidecar } = await start();
    await sidecar.validate({ token: 'raw-token' });

    expect(shown(await sidecar.revoke({ target, forward: Forward.ALWAYS }))).toBe('INVALID_ARGUMENT CANNOT_FORWARD');
    expect((await sidecar.validate({ token: 'raw-token' })).response?.active).toBe(true);
  });
});

describe('FindToken', () => {
  it('tells an authorised caller the facts and the fingerprint, and writes that down', async () => {
    const { sidecar } = await start();
    const { response: known } = await sidecar.validate({ token: 'raw-token' });
    const { response } = await sidecar.findToken({ userId: 'alice', projectId: 'shop' });

    expect(response?.found).toMatchObject({ active: true, fingerprint: known?.fingerprint, handle: '', token: { user: { id: 'alice' } } });
    expect(sidecar.audits().at(-1)).toMatchObject({
      act: 'find',
      actor: 'socket',
      outcome: `found ${known?.fingerprint}`,
      selector: { userId: 'alice', projectId: 'shop' },
    });
    expect(await sidecar.everything()).not.toContain('raw-token');
  });

  it('W15 max_age of what it finds ends with the catalog that comes with it', async () => {
    let laterMs = 0;
    const { nowMs, monotonicMs, delay } = systemClock;
    const { central, sidecar } = await start({}, { nowMs: () => nowMs() + laterMs, monotonicMs: () => monotonicMs() + laterMs, delay });
    central.hasCatalog('[{"type":"compute","endpoints":[]}]');
    await sidecar.validate({ token: 'raw-token', include: { catalog: true } });
    laterMs = 500_000;
    await sidecar.validate({ token: 'raw-token' });
    const find = async (catalog: boolean) =>
      (await sidecar.findToken({ userId: 'alice', projectId: 'shop', include: { catalog } })).response?.found;
    expect((await find(true))?.token?.catalog).toHaveLength(1);

    expect(Number((await find(true))?.maxAge?.seconds)).toBeLessThan(100);
    expect(Number((await find(false))?.maxAge?.seconds)).toBeGreaterThan(200);
  });

  it('finds none of another project, and says so', async () => {
    const { sidecar } = await start();
    await sidecar.validate({ token: 'raw-token' });

    expect((await sidecar.findToken({ userId: 'alice', projectId: 'other' })).response?.found).toBeUndefined();
    expect(sidecar.audits().at(-1)).toMatchObject({ act: 'find', outcome: 'none' });
  });

  it('takes no longer ids than what is written down may have', async () => {
    const { sidecar } = await start();

    expect(shown(await sidecar.findToken({ userId: 'x'.repeat(1025) }))).toBe('INVALID_ARGUMENT TEXT_TOO_LONG');
    expect(sidecar.audits()).toEqual([]);
  });

  it('is for authorised callers only: loopback is nobody, and a member is not one', async () => {
    const { sidecar } = await start();
    await sidecar.validate({ token: 'raw-token' });
    const find = (bearer?: string) => sidecar.findToken({ userId: 'alice' }, { over: 'tcp', ...(bearer ? { bearer } : {}) });

    expect(shown(await find())).toBe('UNAUTHENTICATED CALLER_UNKNOWN');
    expect(shown(await find('raw-token'))).toBe('PERMISSION_DENIED CALLER_NOT_ALLOWED');
    expect(sidecar.audits().at(-1)).toMatchObject({ act: 'refused', outcome: 'find: CALLER_NOT_ALLOWED' });
  });
});
