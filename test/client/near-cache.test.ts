// The near cache lives by the Watch contract: every scripted case, against the client as it is used.
import { describe, expect, it } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { type CaseFilter, nearCacheCases, playNearCacheCase, type Subject } from '../fakes/near-cache-cases.ts';

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
