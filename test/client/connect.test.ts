// The client against a real server: what it sends, what it makes of answers and of errors, and that every wait ends.
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Client, type ConnectOptions, connect, NoAnswerError, parseCursor } from '../../src/client/index.ts';
import {
  type AcknowledgeRequest,
  AcknowledgeResponse,
  type FindTokenRequest,
  FindTokenResponse,
  Forward,
  Forwarding,
  GetStatusResponse,
  Reach,
  type RevokeRequest,
  RevokeResponse,
  Token,
  type ValidateRequest,
  ValidateResponse,
} from '../../src/gen/sidegate/v1/token_service.ts';
import { Refusal, ScriptedSidecar } from '../fakes/scripted-sidecar.ts';

const asOf = { journal: 'J', revision: 5n };
const activeAnswer = ValidateResponse.fromPartial({ active: true, asOf, token: Token.fromPartial({ issuer: 'central', format: 'jwt' }) });
const secret = 'tok-5e3c7f';

let sidecar: ScriptedSidecar;
const clients: Client[] = [];
const client = (options: ConnectOptions = {}): Client => {
  const made = connect({ address: sidecar.address, ...options });
  clients.push(made);
  return made;
};
const failure = async (run: Promise<unknown>): Promise<NoAnswerError> => {
  const error: unknown = await run.then(
    () => new Error('it did not fail'),
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(NoAnswerError);
  return error as NoAnswerError;
};

beforeEach(async () => {
  sidecar = await ScriptedSidecar.start();
});
afterEach(() => {
  for (const made of clients.splice(0)) made.close();
  sidecar.stop();
});

describe('the client', () => {
  it('acknowledges how far a subscription has come, and reads who else has', async () => {
    const acknowledged: AcknowledgeRequest[] = [];
    sidecar.on.acknowledge = (request) => {
      acknowledged.push(request);
      if (request.subscription !== 'w1') throw new Refusal(status.FAILED_PRECONDITION, { reason: 'NO_SUCH_SUBSCRIPTION' });
      return AcknowledgeResponse.create();
    };
    sidecar.on.getStatus = () =>
      GetStatusResponse.fromPartial({ acknowledgements: [{ subscription: 'w1', cursor: asOf, acknowledgedAt: new Date(5) }] });
    const made = client();
    await made.acknowledge('w1', parseCursor('J:5'));
    expect(acknowledged).toMatchObject([{ subscription: 'w1', cursor: asOf }]);
    expect(await failure(made.acknowledge('w2', parseCursor('J:5')))).toMatchObject({ reason: 'NO_SUCH_SUBSCRIPTION' });
    expect((await made.status()).acknowledgements).toEqual([
      { subscription: 'w1', cursor: { journal: 'J', revision: 5 }, acknowledgedAtMs: 5 },
    ]);
  });

  it('connects ahead of its first call where that is asked for, and sends nothing for it', async () => {
    let asked = 0;
    sidecar.on.validate = () => {
      asked += 1;
      return activeAnswer;
    };
    const made = client();
    await made.connected();
    expect(asked).toBe(0);
    expect(await made.validate(secret)).toMatchObject({ active: true });
  });

  it('that cannot connect ahead says so at its next call, and by its deadline at the latest', async () => {
    const made = client({ address: '127.0.0.1:1' });
    await made.connected({ timeoutMs: 5000 });
    expect(await failure(made.validate(secret))).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await failure(made.connected({ signal: AbortSignal.abort() }))).toMatchObject({ code: 'CANCELLED' });
  });

  it('sends the whole question', async () => {
    let request: ValidateRequest | undefined;
    sidecar.on.validate = (sent) => {
      request = sent;
      return activeAnswer;
    };
    await client().validate(secret, {
      demand: {
        scope: { kind: 'domain', id: 'd' },
        anyOfIssuers: ['i'],
        anyOfAudiences: ['a'],
        anyOfRoles: ['r'],
        allOfScopes: ['s'],
        certificateThumbprint: 'x',
        access: { service: 'compute', method: 'GET', path: '/v2.1/servers' },
      },
      serviceToken: 'tok-service',
      include: { claims: true, details: true, catalog: true, catalogRegions: ['R1', 'R2'], catalogServices: ['compute'], handle: true },
      atLeastAsFresh: parseCursor('J:7'),
      maxStalenessMs: 1500,
      staleIfUnavailableMs: 60_000,
    });
    expect(request).toMatchObject({
      credential: { $case: 'token', value: secret },
      demand: {
        scope: { $case: 'domainId', value: 'd' },
        anyOfIssuers: ['i'],
        anyOfAudiences: ['a'],
        anyOfRoles: ['r'],
        allOfScopes: ['s'],
        certificateThumbprint: 'x',
        access: { service: 'compute', method: 'GET', path: '/v2.1/servers' },
      },
      serviceToken: 'tok-service',
      include: {
        claims: true,
        tags: false,
        details: true,
        catalog: true,
        catalogRegions: ['R1', 'R2'],
        catalogServices: ['compute'],
        handle: true,
      },
      atLeastAsFresh: { $case: 'cursor', value: { journal: 'J', revision: 7n } },
      maxStaleness: { seconds: 1n, nanos: 500_000_000 },
      staleIfUnavailable: { seconds: 60n, nanos: 0 },
    });
  });

  it('asks about the token of a handle, and revokes it', async () => {
    const seen: unknown[] = [];
    sidecar.on.validate = ({ credential }) => {
      seen.push(credential);
      return activeAnswer;
    };
    sidecar.on.revoke = ({ target }) => {
      seen.push(target);
      return RevokeResponse.fromPartial({ asOf });
    };
    await client().validate({ handle: 'h' });
    await client().revoke({ handle: 'h' });
    expect(seen).toEqual(Array(2).fill({ $case: 'handle', value: 'h' }));
  });

  it('finds a token by its user, or none', async () => {
    const requests: FindTokenRequest[] = [];
    sidecar.on.findToken = (request) => {
      requests.push(request);
      return FindTokenResponse.fromPartial(request.projectId === 'p' ? { found: activeAnswer } : {});
    };
    const named = { issuer: 'central', userId: 'u', projectId: 'p' };
    expect(await client().findToken(named, { include: { handle: true } })).toMatchObject({ active: true, token: { issuer: 'central' } });
    expect(await client().findToken({ userId: 'u' })).toBeUndefined();
    expect(requests).toMatchObject([
      { ...named, include: { handle: true, catalog: false } },
      { issuer: '', userId: 'u', projectId: '' },
    ]);
    sidecar.on.findToken = () => {
      throw new Refusal(status.PERMISSION_DENIED, { reason: 'CALLER_UNKNOWN' });
    };
    expect(await failure(client().findToken(named))).toMatchObject({ code: 'PERMISSION_DENIED', reason: 'CALLER_UNKNOWN' });
  });

  it('says whether the authority is to be told of a revocation, and what came of it', async () => {
    const sent: RevokeRequest['forward'][] = [];
    sidecar.on.revoke = ({ forward }) => {
      sent.push(forward);
      return RevokeResponse.fromPartial({ asOf, forwarding: Forwarding.PENDING });
    };
    expect(await client().revoke({ token: secret }, { forward: true })).toMatchObject({ forwarding: 'pending' });
    await client().revoke({ token: secret }, { forward: false });
    await client().revoke({ token: secret });
    expect(sent).toEqual([Forward.ALWAYS, Forward.NEVER, Forward.UNSPECIFIED]);
  });

  it('says how far a revocation must have gone, and is told how far it has', async () => {
    const sent: RevokeRequest['waitFor'][] = [];
    sidecar.on.revoke = ({ waitFor }) => {
      sent.push(waitFor);
      return RevokeResponse.fromPartial({ asOf, reach: Reach.SHARED, reachedAt: new Date(7), laggingSidecars: ['nova-2', 'nova-3'] });
    };
    const told = await client().revoke({ token: secret }, { waitFor: 'fleet' });
    expect(told).toMatchObject({ reach: 'shared', reachedAtMs: 7, laggingSidecars: ['nova-2', 'nova-3'] });
    await client().revoke({ token: secret }, { waitFor: 'shared' });
    await client().revoke({ token: secret }, { waitFor: 'sidecar' });
    await client().revoke({ token: secret });
    expect(sent).toEqual([Reach.FLEET, Reach.SHARED, Reach.SIDECAR, Reach.SIDECAR]);
  });

  it('has no answer where it is to wait for a fleet and there is none', async () => {
    sidecar.on.revoke = () => {
      throw new Refusal(status.FAILED_PRECONDITION, { reason: 'NO_FLEET' });
    };
    const failed = await failure(client().revoke({ token: secret }, { waitFor: 'fleet' }));
    expect(failed).toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'NO_FLEET' });
  });

  it('asks for an invalidation made elsewhere by its id', async () => {
    let fresh: ValidateRequest['atLeastAsFresh'];
    sidecar.on.validate = (sent) => {
      fresh = sent.atLeastAsFresh;
      return activeAnswer;
    };
    await client().validate(secret, { atLeastAsFresh: { entryId: 'e1' } });
    expect(fresh).toEqual({ $case: 'entryId', value: 'e1' });
  });

  it('says who calls, and asks for the caller token at every call', async () => {
    const seen: unknown[] = [];
    sidecar.on.validate = (_, metadata) => {
      seen.push(metadata.get('authorization')[0]);
      return activeAnswer;
    };
    const tokens = ['caller-1', 'caller-2'];
    const named = client({ callerToken: async () => tokens.shift() ?? '' });
    await named.validate(secret);
    await named.validate(secret);
    expect(seen).toEqual(['Bearer caller-1', 'Bearer caller-2']);
  });

  it('does not show a caller token that is no header value', async () => {
    const error = await failure(client({ callerToken: 'caller-sécret\n' }).validate(secret));
    expect(error).toMatchObject({ code: 'UNAUTHENTICATED', reason: 'CALLER_TOKEN' });
    expect(`${error.message} ${error.stack} ${String(error.cause)}`).not.toContain('caller-s');
  });

  it('does not wait for a caller token for ever', async () => {
    const error = await failure(client({ callerToken: () => new Promise(() => undefined) }).validate(secret, { timeoutMs: 30 }));
    expect(error.code).toBe('DEADLINE_EXCEEDED');
  });

  it('throws the sidecar’s reason and when to ask again', async () => {
    sidecar.on.validate = () => {
      throw new Refusal(status.UNAVAILABLE, { reason: 'KEYSTONE_UNREACHABLE', retryAfterMs: 2500 });
    };
    expect(await failure(client().validate(secret))).toMatchObject({
      code: 'UNAVAILABLE',
      reason: 'KEYSTONE_UNREACHABLE',
      retryAfterMs: 2500,
    });
  });

  it('ends every wait at its deadline, or by its signal', async () => {
    sidecar.on.validate = () => new Promise(() => undefined);
    const made = client({ timeoutMs: 40 });
    expect((await failure(made.validate(secret))).code).toBe('DEADLINE_EXCEEDED');
    const leaving = new AbortController();
    const waiting = made.validate(secret, { timeoutMs: 60_000, signal: leaving.signal });
    leaving.abort();
    expect((await failure(waiting)).code).toBe('CANCELLED');
    expect((await failure(made.validate(secret, { signal: leaving.signal }))).code).toBe('CANCELLED');
  });

  it('has no answer where there is no sidecar, and none after it was closed', async () => {
    const { address } = sidecar;
    sidecar.stop();
    const error = await failure(connect({ address }).validate(secret));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).not.toContain(secret);
    const closed = connect({ address });
    closed.close();
    expect(await failure(closed.validate(secret))).toMatchObject({ code: 'CANCELLED', reason: 'CLIENT_CLOSED' });
  });

  it('has no answer where the answer cannot be read', async () => {
    sidecar.on.validate = () => ValidateResponse.fromPartial({ ...activeAnswer, asOf: { journal: 'not a journal', revision: 1n } });
    expect(await failure(client().validate(secret))).toMatchObject({ code: 'INTERNAL', reason: 'ANSWER_MALFORMED' });
  });

  it('revokes once more with the same id where the sidecar was unavailable', async () => {
    const ids: string[] = [];
    sidecar.on.revoke = ({ requestId }) => {
      ids.push(requestId);
      if (ids.length === 1) throw new Refusal(status.UNAVAILABLE, { retryAfterMs: 5 });
      return RevokeResponse.fromPartial({ asOf, entryId: 'e' });
    };
    expect(await client().revoke({ token: secret })).toMatchObject({ asOf: { journal: 'J', revision: 5 }, entryId: 'e' });
    expect(ids).toHaveLength(2);
    expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(ids[1]).toBe(ids[0]);
  });

  it('revokes no third time, and not again after any other error', async () => {
    let calls = 0;
    let code: number = status.UNAVAILABLE;
    sidecar.on.revoke = () => {
      calls += 1;
      throw new Refusal(code, { retryAfterMs: 1 });
    };
    await failure(client().revoke({ token: secret }));
    expect(calls).toBe(2);
    code = status.PERMISSION_DENIED;
    await failure(client().revoke({ selector: { userId: 'u' } }));
    expect(calls).toBe(3);
  });

  it('does not wait for a second try beyond the deadline', async () => {
    let calls = 0;
    sidecar.on.revoke = () => {
      calls += 1;
      throw new Refusal(status.UNAVAILABLE, { retryAfterMs: 60_000 });
    };
    expect(await failure(client().revoke({ token: secret }, { timeoutMs: 500 }))).toMatchObject({ retryAfterMs: 60_000 });
    expect(calls).toBe(1);
  });

  it('refuses a time of issue that is none, for leaving it out would mean another', async () => {
    await expect(client().revoke({ selector: { userId: 'u' } }, { issuedBeforeMs: Number.NaN })).rejects.toThrow(RangeError);
  });

  it('tells the state of the sidecar', async () => {
    sidecar.on.getStatus = () =>
      GetStatusResponse.fromPartial({
        sidecar: 'nova-1',
        serving: true,
        applied: asOf,
        entryCount: 212n,
        dependencies: [{ name: 'journal', reachable: true }],
        tiers: [{ name: 'memory', tokenCount: 3n }],
        degradations: [{ issuer: 'central', reasons: ['GAP'], since: new Date(9) }],
        upstreamOutboxCount: 4n,
        forwardings: [
          { issuer: 'central', pendingCount: 3n, acceptedCount: 2n, rejectedCount: 1n, expiredCount: 5n, oldestAt: new Date(7) },
          { issuer: 'corp' },
        ],
        fleet: { members: ['nova-2'], outboxCount: 6n, oldestAt: new Date(8) },
      });
    expect(await client().status()).toMatchObject({
      sidecar: 'nova-1',
      serving: true,
      applied: { journal: 'J', revision: 5 },
      entryCount: 212,
      dependencies: [{ name: 'journal', reachable: true }],
      tiers: [{ name: 'memory', tokenCount: 3 }],
      degradations: [{ issuer: 'central', reasons: ['GAP'], sinceMs: 9 }],
      upstreamOutboxCount: 4,
      forwardings: [
        { issuer: 'central', pendingCount: 3, acceptedCount: 2, rejectedCount: 1, expiredCount: 5, oldestAtMs: 7 },
        { issuer: 'corp', pendingCount: 0 },
      ],
      fleet: { members: ['nova-2'], outboxCount: 6, oldestAtMs: 8 },
    });
    sidecar.on.getStatus = () => GetStatusResponse.fromPartial({ sidecar: 'nova-1' });
    expect(await client().status()).not.toHaveProperty('fleet');
  });
});
