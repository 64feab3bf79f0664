// S8 through a whole sidecar: the service catalogs of an issuer change, and near caches drop the answers that carry one, and no others.

import { afterEach, expect, it, vi } from 'vitest';
import { type ActiveAnswer, type Answer, connect } from '../src/client/index.ts';
import { createFakeIssuer } from './fakes/issuer.ts';
import { startSidecar } from './fakes/sidecar.ts';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const servicesOf = (answer: Answer): readonly string[] => (answer as ActiveAnswer).token.catalog?.map(({ type }) => type) ?? [];

it('S8 a refresh of the catalogs drops the answers of near caches that carry one, and no others', async () => {
  const central = createFakeIssuer();
  // A whole sidecar has the clock of this machine.
  const issuedAtMs = Math.floor(Date.now() / 1000) * 1000;
  const scope = { kind: 'project', project: { id: 'shop', isDomain: false } } as const;
  central.knows('t', { token: { issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000, user: { id: 'alice' }, scope } });
  central.hasCatalog('[{"type":"compute"}]');
  const sidecar = await startSidecar({ fakes: [central] });
  ends.push(() => sidecar.stop());
  const client = connect({ address: sidecar.socket ?? '' });
  ends.push(() => client.close());
  const near = client.nearCache();
  await vi.waitFor(() => expect(near.stats().proven).toBe(true), { timeout: 30_000 });
  const withCatalog = { include: { catalog: true } };
  for (let n = 0; n < 2; n += 1) {
    expect(servicesOf(await near.validate('t', withCatalog))).toEqual(['compute']);
    await near.validate('t');
  }
  const before = near.stats();
  expect([before.hits, before.entries]).toEqual([2, 2]);

  central.hasCatalog('[{"type":"image"}]');
  await client.refresh({ catalog: true });
  await vi.waitFor(() => expect(near.stats().entries).toBe(1), { timeout: 30_000 });
  await near.validate('t');
  expect(near.stats().hits).toBe(3);
  expect(servicesOf(await near.validate('t', withCatalog))).toEqual(['image']);
  await expect(client.revoke({ selector: { catalog: true } })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'SELECTOR_FORM' });
});
