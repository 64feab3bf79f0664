// Keystone's catalog as read and narrowed; what cannot be read is left out, never an error.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { filterCatalog, readCatalog } from '../../src/core/catalog.ts';
import captured from '../vectors/keystone-bodies.json' with { type: 'json' };

const token = JSON.parse(captured.bodies.project.withCatalog).token as { readonly catalog: unknown };
const catalog = readCatalog(JSON.stringify(token.catalog));
const shapeOf = (services: typeof catalog) =>
  services.map(({ type, endpoints }) => [type, endpoints.map((it) => `${it.regionId} ${it.interface}`).sort()] as const);
const all = { regions: [], services: [] };

describe('a captured catalog', () => {
  it('has its services and their addresses', () => {
    expect(shapeOf(catalog)).toEqual([
      ['identity', ['RegionOne public']],
      ['compute', ['RegionOne internal', 'RegionOne public', 'RegionTwo public']],
      ['block-storage', ['RegionTwo public']],
    ]);
    const [compute] = filterCatalog(catalog, { regions: ['RegionTwo'], services: ['compute'] });
    expect(compute).toMatchObject({ name: 'nova', endpoints: [{ url: 'http://compute.two.example:8774/v2.1' }] });
    expect(compute?.id).toMatch(/^[0-9a-f]{32}$/);
    expect(compute?.endpoints[0]?.id).toMatch(/^[0-9a-f]{32}$/);
  });

  it.each([
    ['nothing in particular', all, ['identity', 'compute', 'block-storage']],
    ['a region', { regions: ['RegionTwo'], services: [] }, ['compute', 'block-storage']],
    ['two regions', { regions: ['RegionTwo', 'RegionOne'], services: [] }, ['identity', 'compute', 'block-storage']],
    ['a service', { regions: [], services: ['identity'] }, ['identity']],
    ['a service in a region', { regions: ['RegionOne'], services: ['compute', 'block-storage'] }, ['compute']],
    ['a service where it is not', { regions: ['RegionOne'], services: ['block-storage'] }, []],
    ['a region that is nowhere', { regions: ['regionone'], services: [] }, []],
    ['a service that nobody offers', { regions: [], services: ['nova'] }, []],
  ])('of which %s is wanted has that', (_what, filter, types) => {
    expect(filterCatalog(catalog, filter).map(({ type }) => type)).toEqual(types);
  });

  it('keeps of a service only the addresses in the wanted regions, and is not changed itself', () => {
    expect(shapeOf(filterCatalog(catalog, { regions: ['RegionOne'], services: ['compute'] }))).toEqual([
      ['compute', ['RegionOne internal', 'RegionOne public']],
    ]);
    expect(shapeOf(catalog)[1]?.[1]).toHaveLength(3);
  });
});

describe('a catalog', () => {
  it('may name a region as it was named before there were ids', () => {
    expect(
      readCatalog('[{"endpoints": [{"region": "old"}, {"region_id": "new", "region": "old"}, {"region_id": null, "region": "old"}]}]'),
    ).toMatchObject([{ endpoints: [{ regionId: 'old' }, { regionId: 'new' }, { regionId: 'old' }] }]);
  });

  it.each(['', '{', 'null', '{}', '"x"', '17', '[]', '[null, 1, "x", []]'])('that is %j has no services', (json) => {
    expect(readCatalog(json)).toEqual([]);
  });

  it('keeps a service of which something cannot be read', () => {
    expect(readCatalog('[{"type": "compute", "name": 5, "endpoints": {"a": 1}}, {"endpoints": [7, {"url": "u"}]}]')).toEqual([
      { id: '', type: 'compute', name: '', endpoints: [] },
      { id: '', type: '', name: '', endpoints: [{ id: '', interface: '', regionId: '', url: 'u' }] },
    ]);
  });

  it('whatever it is, throws nothing', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (json) => {
        expect(Array.isArray(readCatalog(json))).toBe(true);
      }),
    );
  });
});
