// Names of queues and routing keys.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { busQueueName, markerKeyOf } from '../../../src/news/bus/queue.ts';

describe('the name of our queue', () => {
  const owner = { sidecar: 'compute-7.example.org', issuer: 'central', journal: '0123456789ABCDEF' };

  it('tells whose it is', () => {
    expect(busQueueName(owner)).toBe('sidegate.compute-7-example-org.central.0123456789ABCDEF');
  });

  it('is another for another sidecar, issuer or journal', () => {
    const names = [owner, { ...owner, sidecar: 'a' }, { ...owner, issuer: 'b' }, { ...owner, journal: 'C' }].map(busQueueName);
    expect(new Set(names).size).toBe(4);
  });

  it('fits into AMQP, and the right that is given by its beginning, whatever they are called', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.string({ unit: 'binary', maxLength: 300 }), (sidecar, issuer) => {
        const name = busQueueName({ sidecar, issuer, journal: '0123456789ABCDEF' });
        expect(name).toMatch(/^sidegate\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.0123456789ABCDEF$/);
        expect(Buffer.byteLength(name)).toBeLessThanOrEqual(255 - 13);
      }),
    );
  });
});

describe('S10 the routing key of markers', () => {
  const place = { exchange: 'keystone', topics: ['notifications'] };

  it('is one that no topic has and no pattern of Keystone’s, and is another where anything is that it proves', () => {
    const keys = [
      markerKeyOf('q', place),
      markerKeyOf('r', place),
      markerKeyOf('q', { ...place, exchange: 'other' }),
      markerKeyOf('q', { ...place, topics: ['notifications', 'audit'] }),
    ];
    expect(new Set(keys).size).toBe(4);
    for (const key of keys) expect(key).toMatch(/^sidegate\.[0-9a-f]{32}$/);
    expect(markerKeyOf('q', { ...place })).toBe(keys[0]);
  });
});
