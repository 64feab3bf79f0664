// Who a caller is and what it may do.

import { afterEach, describe, expect, it } from 'vitest';
import { type Act, type Caller, type CallerLine, Callers, type Peer } from '../../src/service/callers.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
import { always, createValidationStage } from './validation-stage.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const lines: readonly CallerLine[] = [
  { who: { kind: 'local' }, may: ['validate', 'watch'] },
  { who: { kind: 'socket' }, may: ['status', 'revoke', 'refresh', 'details'] },
  { who: { kind: 'token-role', role: 'admin', issuer: 'central' }, may: ['revoke', 'refresh'] },
  { who: { kind: 'token-role', role: 'auditor', issuer: 'central' }, may: ['details'] },
  { who: { kind: 'spiffe-id', id: 'spiffe://a/b' }, may: ['find'] },
  { who: { kind: 'certificate-name', name: 'n.example' }, may: ['status'] },
];

async function createStage() {
  const central = createFakeIssuer({ prefix: 'c_' });
  const other = createFakeIssuer({ name: 'other', prefix: 'o_' });
  const admin = { token: { user: { id: 'u1', name: 'ann' }, roles: [{ id: '', name: 'admin' }] } };
  central.knows('c_admin', admin);
  central.knows('c_reader', { token: { user: { id: 'u2' }, roles: [{ id: '', name: 'reader' }] } });
  central.knows('c_both', { token: { clientId: 'robot', roles: ['auditor', 'admin'].map((name) => ({ id: '', name })) } });
  central.knows('c_bound', { token: { ...admin.token, certificateThumbprint: 'thumb' } });
  other.knows('o_admin', admin);
  const stage = await createValidationStage({ issuers: [central, other] });
  ends.push(() => stage.close());
  const callers = new Callers(lines, stage.validator, stage.clock.nowMs);
  const authorise = (caller: Partial<Caller>, act: Act): Promise<string> =>
    callers.authorise({ listener: 'tcp', peer: undefined, bearer: undefined, ...caller }, act, always).then(
      ({ name }) => name,
      (error) => `${error.code} ${error.reason}`,
    );
  return { ...stage, central, callers, authorise };
}

describe('Callers', () => {
  it.each([
    { listener: 'socket', act: 'validate', allowed: true },
    { listener: 'socket', act: 'watch', allowed: true },
    { listener: 'socket', act: 'status', allowed: true },
    { listener: 'socket', act: 'revoke', allowed: true },
    { listener: 'socket', act: 'refresh', allowed: true },
    { listener: 'socket', act: 'details', allowed: true },
    { listener: 'tcp', act: 'validate', allowed: true },
    { listener: 'tcp', act: 'watch', allowed: true },
    { listener: 'tcp', act: 'status', allowed: false },
    { listener: 'tcp', act: 'revoke', allowed: false },
    { listener: 'tcp', act: 'refresh', allowed: false },
    { listener: 'tcp', act: 'details', allowed: false },
  ] as const)('anyone at the $listener may $act: $allowed', async ({ listener, act, allowed }) => {
    const { callers, authorise } = await createStage();

    expect(callers.allows({ listener, peer: undefined }, act)).toBe(allowed);
    expect(await authorise({ listener }, act)).toBe(
      allowed ? { socket: 'socket', tcp: 'loopback' }[listener] : 'UNAUTHENTICATED CALLER_UNKNOWN',
    );
  });

  it('a bearer token with a role that a line names may what that line says, and is named by user, issuer and fingerprint', async () => {
    const { authorise } = await createStage();

    expect(await authorise({ bearer: 'c_admin' }, 'revoke')).toMatch(/^ann@central \([0-9a-f]{32}\)$/);
    expect(await authorise({ bearer: 'c_admin' }, 'details')).toBe('PERMISSION_DENIED CALLER_NOT_ALLOWED');
  });

  it('what a caller may is the union of the lines that fit it', async () => {
    const { authorise } = await createStage();

    expect(await authorise({ bearer: 'c_both' }, 'details')).toMatch(/^robot@central /);
    expect(await authorise({ bearer: 'c_both' }, 'refresh')).toMatch(/^robot@central /);
    expect(await authorise({ bearer: 'c_reader', listener: 'socket' }, 'refresh')).toMatch(/^u2@central /);
  });

  it('a role of another issuer is another role', async () => {
    const { authorise } = await createStage();

    expect(await authorise({ bearer: 'o_admin' }, 'revoke')).toBe('PERMISSION_DENIED CALLER_NOT_ALLOWED');
  });

  it.each(['c_unknown', 'c_bound', 'no token at all'])(
    'a bearer token that is not active (%s) is nobody, whatever the listener',
    async (bearer) => {
      const { authorise } = await createStage();

      expect(await authorise({ bearer }, 'revoke')).toBe('UNAUTHENTICATED CALLER_TOKEN_INACTIVE');
      expect(await authorise({ bearer, listener: 'socket' }, 'revoke')).toBe('UNAUTHENTICATED CALLER_TOKEN_INACTIVE');
    },
  );

  it('a bearer token that has been revoked here is nobody', async () => {
    const { authorise, revokeToken } = await createStage();
    await authorise({ bearer: 'c_admin' }, 'revoke');
    await revokeToken('c_admin');

    expect(await authorise({ bearer: 'c_admin' }, 'revoke')).toBe('UNAUTHENTICATED CALLER_TOKEN_INACTIVE');
  });

  it.each([
    { ageMs: 4999, asked: 1 },
    { ageMs: 5000, asked: 1 },
    { ageMs: 5001, asked: 2 },
  ])('a caller’s own token is judged on facts of the last 5 s: after $ageMs ms it was asked $asked times', async ({ ageMs, asked }) => {
    const { authorise, central, clock } = await createStage();
    await authorise({ bearer: 'c_admin' }, 'revoke');
    await clock.advance(ageMs);
    await authorise({ bearer: 'c_admin' }, 'revoke');

    expect(central.reads).toHaveLength(asked);
  });

  it('while its authority is down a bearer token is neither allowed nor denied: there is no answer', async () => {
    const { authorise, central, clock } = await createStage();
    await authorise({ bearer: 'c_admin' }, 'revoke');
    central.isDown();
    await clock.advance(5001);

    expect(await authorise({ bearer: 'c_admin' }, 'revoke')).toBe('UNAVAILABLE UPSTREAM_DOWN');
  });

  it('a certificate gives what its lines give until it ends, and not a moment longer', async () => {
    const { callers, clock, authorise } = await createStage();
    const peer: Peer = { spiffeId: 'spiffe://a/b', dnsNames: ['n.example'], name: 'spiffe://a/b', validUntilMs: clock.nowMs() + 1000 };
    const caller = { listener: 'remote', peer } as const;
    expect([callers.allows(caller, 'find'), callers.allows(caller, 'status'), callers.allows(caller, 'validate')]).toEqual([
      true,
      true,
      false,
    ]);
    expect(await authorise(caller, 'find')).toBe('spiffe://a/b');
    expect(await authorise(caller, 'validate')).toBe('PERMISSION_DENIED CALLER_NOT_ALLOWED');
    await clock.advance(999);
    expect(callers.allows(caller, 'find')).toBe(true);
    await clock.advance(1);
    expect(callers.allows(caller, 'find')).toBe(false);
    expect(await authorise(caller, 'find')).toBe('UNAVAILABLE CERTIFICATE_EXPIRED');
    // Nor does a token make up for it.
    expect(await authorise({ ...caller, bearer: 'c_admin' }, 'revoke')).toBe('UNAVAILABLE CERTIFICATE_EXPIRED');
  });

  it('from another host, by a connection that shows no certificate any more, nobody may anything', async () => {
    const { callers, authorise } = await createStage();
    const caller = { listener: 'remote', peer: undefined } as const;
    expect(callers.allows(caller, 'validate')).toBe(false);
    expect(await authorise(caller, 'watch')).toBe('UNAUTHENTICATED CALLER_UNKNOWN');
  });
});
