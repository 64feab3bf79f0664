// The near cache lives by the Watch contract: every scripted case, against the client as it is used.
import { describe, expect, it } from 'vitest';
import { type Client, connect, type NearCache, parseCursor, type ValidateOptions } from '../../src/client/index.ts';
import { Token, type ValidateRequest, ValidateResponse } from '../../src/gen/sidegate/v1/token_service.ts';
import { type CaseFilter, nearCacheCases, playNearCacheCase, type Subject } from '../fakes/near-cache-cases.ts';
import { Refusal, ScriptedSidecar } from '../fakes/scripted-sidecar.ts';

async function begin(address: string, filter: CaseFilter | undefined): Promise<Subject> {
  const client = connect({ address });
  const cache = client.nearCache(
    filter === undefined
      ? {}
      : { filter: { issuers: filter.issuers ?? [], userIds: filter.user_ids ?? [], projectIds: filter.project_ids ?? [] } },
  );
  return {
    validate: (token) => cache.validate(token),
    events: async () => cache.stats().events,
    end: async () => client.close(),
  };
}

describe('the near cache', () => {
  const cases = nearCacheCases().filter((scripted) => !scripted.pauses);

  it('has cases for every rule of the contract that is the subscriber’s', () => {
    const rules = new Set(cases.map(({ name }) => name.split(':')[0]));
    expect(rules).toEqual(new Set(['W1', 'W2', 'W3', 'W5', 'W6', 'W7', 'W8', 'W9', 'W11', 'W14', 'W15']));
  });

  it.concurrent.each(cases)('$name', async (scripted) => {
    await playNearCacheCase(scripted, begin);
  });
});

describe('the near cache, beside the contract', () => {
  const scripted = async (play: (sidecar: ScriptedSidecar, client: Client) => Promise<void>): Promise<void> => {
    const sidecar = await ScriptedSidecar.start();
    const client = connect({ address: sidecar.address });
    try {
      await play(sidecar, client);
    } finally {
      client.close();
      sidecar.stop();
    }
  };
  const position = { journal: 'J', revision: 5n };
  const answered = ValidateResponse.fromPartial({
    active: true,
    asOf: position,
    maxAge: { seconds: 60n },
    tags: [1n],
    token: Token.fromPartial({ issuer: 'central', format: 'jwt' }),
  });
  const now = new Date();
  /** A near cache whose stream proves. */
  const proven = async (sidecar: ScriptedSidecar, client: Client, maxEntries = 100): Promise<NearCache> => {
    const cache = client.nearCache({ maxEntries });
    const subscription = await sidecar.subscription();
    const span = { seconds: 60n, nanos: 0 };
    const value = { earliest: position, latest: position, checkpointInterval: span, proofLifetime: span, sidecar: 's', subscription: 's' };
    subscription.send({ message: { $case: 'opened', value } });
    const checkpoint = { cursor: position, serverTime: now, provenThrough: now, degraded: false, degradedIssuers: [], sources: [] };
    subscription.send({ message: { $case: 'checkpoint', value: checkpoint } });
    await expect.poll(() => cache.stats().proven).toBe(true);
    return cache;
  };

  it('asks once for a hundred who ask the same at the same time', async () => {
    await scripted(async (sidecar, client) => {
      let asked = 0;
      sidecar.on.validate = () => {
        asked += 1;
        return answered;
      };
      const cache = await proven(sidecar, client);
      const answers = await Promise.all(Array.from({ length: 100 }, () => cache.validate('t')));
      expect(asked).toBe(1);
      expect(answers.every((answer) => answer.active)).toBe(true);
      expect(cache.stats()).toMatchObject({ asked: 1, entries: 1, hits: 0 });
    });
  });

  it('answers one question by no answer to another', async () => {
    await scripted(async (sidecar, client) => {
      let asked = 0;
      sidecar.on.validate = () => {
        asked += 1;
        return answered;
      };
      const cache = await proven(sidecar, client);
      const questions: ValidateOptions[] = [
        {},
        { include: { claims: true } },
        { demand: { scope: { kind: 'project', id: 'p' } } },
        { demand: { scope: { kind: 'domain', id: 'p' } } },
        { demand: { scope: { kind: 'system' } } },
        { demand: { anyOfIssuers: ['a'] } },
        { demand: { anyOfAudiences: ['a'] } },
        { demand: { anyOfRoles: ['a'] } },
        { demand: { anyOfRoles: ['a', 'b'] } },
        { demand: { anyOfRoles: ['a,b'] } },
        { demand: { allOfScopes: ['a'] } },
        { demand: { certificateThumbprint: 'a' } },
        { demand: { access: { service: 'a', method: 'GET', path: '/' } } },
        { demand: { access: { service: 'a', method: 'PUT', path: '/' } } },
        { demand: { access: { service: 'b', method: 'GET', path: '/' } } },
        { demand: { access: { service: 'a', method: 'GET', path: '/b' } } },
        { serviceToken: 's' },
        { serviceToken: 's2' },
        { staleIfUnavailableMs: 0 },
        { staleIfUnavailableMs: 1 },
        { include: { catalog: true } },
        { include: { catalog: true, catalogRegions: ['a'] } },
        { include: { catalog: true, catalogServices: ['a'] } },
        { include: { catalog: true, catalogServices: ['a', 'b'] } },
      ];
      for (const question of questions) await cache.validate('t', question);
      expect(asked).toBe(questions.length);
      for (const question of questions) await cache.validate('t', question);
      const again: ValidateOptions[] = [
        { demand: { anyOfRoles: ['b', 'a'] } },
        { include: { catalog: true, catalogServices: ['b', 'a'] } },
        { include: { claims: false }, serviceToken: '' },
      ];
      for (const question of again) await cache.validate('t', question);
      expect(asked).toBe(questions.length);
      await cache.validate('u');
      expect(asked).toBe(questions.length + 1);
      // A handle is another word than the token that is written the same.
      await cache.validate({ handle: 't' });
      await cache.validate({ handle: 't' }, { demand: { anyOfRoles: ['a'] } });
      expect(asked).toBe(questions.length + 3);
      await cache.validate({ handle: 't' });
      expect(asked).toBe(questions.length + 3);
      expect(cache.peek({ handle: 't' })).toBeDefined();
      expect(cache.peek({ handle: 'u' })).toBeUndefined();
    });
  });

  it('lets what wants more than a decision through, and keeps nothing of it', async () => {
    await scripted(async (sidecar, client) => {
      let asked = 0;
      sidecar.on.validate = () => {
        asked += 1;
        return answered;
      };
      const cache = await proven(sidecar, client);
      const questions: ValidateOptions[] = [
        { atLeastAsFresh: { entryId: 'e' } },
        { atLeastAsFresh: parseCursor('J:5') },
        { maxStalenessMs: 0 },
        { include: { details: true } },
        // What holds no token must hold no handle either.
        { include: { handle: true } },
      ];
      for (const question of [...questions, ...questions]) await cache.validate('t', question);
      expect(asked).toBe(10);
      expect(cache.stats().entries).toBe(0);
    });
  });

  it('peeks without waiting', async () => {
    await scripted(async (sidecar, client) => {
      sidecar.on.validate = () => answered;
      const cache = await proven(sidecar, client);
      const demand = { anyOfRoles: ['member'] };
      expect(cache.peek('t', demand)).toBeUndefined();
      const answer = await cache.validate('t', { demand });
      expect(cache.peek('t', demand)).toBe(answer);
      expect(cache.peek('t')).toBeUndefined();
    });
  });

  it('holds no more answers than it may', async () => {
    await scripted(async (sidecar, client) => {
      sidecar.on.validate = () => answered;
      const cache = await proven(sidecar, client, 3);
      for (const token of ['a', 'b', 'c', 'd']) await cache.validate(token);
      expect(cache.stats().entries).toBe(3);
      expect(cache.peek('a')).toBeUndefined();
      expect(cache.peek('d')).toBeDefined();
    });
  });

  it('lets a caller leave without ending the call for the others', async () => {
    await scripted(async (sidecar, client) => {
      let release: (answer: ValidateResponse) => void = () => undefined;
      const reached = new Promise<void>((resolve) => {
        sidecar.on.validate = () =>
          new Promise((answer) => {
            release = answer;
            resolve();
          });
      });
      const cache = await proven(sidecar, client);
      const leaving = new AbortController();
      const first = cache.validate('t', { signal: leaving.signal });
      const second = cache.validate('t');
      const hurried = cache.validate('t', { timeoutMs: 20 });
      await reached;
      leaving.abort();
      await expect(first).rejects.toMatchObject({ code: 'CANCELLED' });
      await expect(hurried).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
      release(answered);
      expect((await second).active).toBe(true);
    });
  });

  it('keeps no error, and asks the next time', async () => {
    await scripted(async (sidecar, client) => {
      const cache = await proven(sidecar, client);
      sidecar.on.validate = () => {
        throw new Refusal(14, { reason: 'KEYSTONE_UNREACHABLE' });
      };
      await expect(cache.validate('t')).rejects.toMatchObject({ reason: 'KEYSTONE_UNREACHABLE' });
      sidecar.on.validate = () => answered;
      expect((await cache.validate('t')).active).toBe(true);
    });
  });

  it('asks for everything once it is closed', async () => {
    await scripted(async (sidecar, client) => {
      let asked = 0;
      sidecar.on.validate = () => {
        asked += 1;
        return answered;
      };
      const cache = await proven(sidecar, client);
      await cache.validate('t');
      cache.close();
      await cache.validate('t');
      expect(asked).toBe(2);
      expect(cache.peek('t')).toBeUndefined();
      expect(cache.stats()).toMatchObject({ proven: false, entries: 0 });
    });
  });

  it('sends the whole question, and one who did not allow a stale answer waits for none', async () => {
    await scripted(async (sidecar, client) => {
      const requests: ValidateRequest[] = [];
      sidecar.on.validate = (request) => {
        requests.push(request);
        return answered;
      };
      const cache = await proven(sidecar, client);
      const question: ValidateOptions = {
        serviceToken: 's',
        staleIfUnavailableMs: 1000,
        include: { catalog: true, catalogRegions: ['r'] },
        demand: { access: { service: 'compute', method: 'GET', path: '/' } },
      };
      await Promise.all([cache.validate('t', question), cache.validate('t', { ...question, staleIfUnavailableMs: 2000 })]);
      expect(requests).toHaveLength(2);
      expect(requests[0]).toMatchObject({
        serviceToken: 's',
        staleIfUnavailable: { seconds: 1n },
        include: { catalog: true, catalogRegions: ['r'], tags: true },
        demand: { access: { service: 'compute', method: 'GET', path: '/' } },
      });
    });
  });

  it('says with which demand it asks, and asks for tags', async () => {
    await scripted(async (sidecar, client) => {
      let request: ValidateRequest | undefined;
      sidecar.on.validate = (sent) => {
        request = sent;
        return answered;
      };
      const cache = await proven(sidecar, client);
      await cache.validate('t', { demand: { anyOfRoles: ['member'] }, include: { claims: true } });
      expect(request).toMatchObject({
        credential: { $case: 'token', value: 't' },
        demand: { anyOfRoles: ['member'] },
        include: { claims: true, tags: true, details: false },
      });
    });
  });
});
