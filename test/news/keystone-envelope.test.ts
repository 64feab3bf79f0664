// What can be read of a body, and what cannot.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { longestBodyBytes, readKeystoneMessage } from '../../src/news/keystone-envelope.ts';
import { newsOf } from '../../src/news/keystone-messages.ts';
import { keystoneTime, secondOf } from '../../src/news/keystone-time.ts';
import { basicMessage, captured, enveloped, innerOf } from '../fakes/keystone-messages.ts';

const inner = basicMessage('identity.user.deleted', 'u', Date.UTC(2026, 10, 21, 17, 55, 58, 579));
const read = (body: string | Uint8Array) => readKeystoneMessage(Buffer.from(body));

describe('a body of oslo.messaging', () => {
  it('is read with its envelope (messagingv2) and without (messaging), and is the same message', () => {
    const { bodies } = captured('cadf', 'user_delete');
    for (const body of bodies) expect(read(JSON.stringify(innerOf(body)))).toEqual(read(body));
    expect(read(JSON.stringify(inner))).toMatchObject({ id: inner['message_id'], eventType: 'identity.user.deleted' });
  });

  it.each(['2.0', '2.1', '2.17.3'])('of version %s is read, as its first number is ours', (version) => {
    expect(read(enveloped(inner, version))).toEqual(read(enveloped(inner)));
  });

  it.each(['3.0', '1.0', '20.0', '2', '2.x', '', 'two'])('of version “%s” is not', (version) => {
    expect(read(enveloped(inner, version))).toBe(undefined);
  });

  it.each([
    ['nothing', ''],
    ['no JSON', '{"event_type": '],
    ['a list', '[]'],
    ['null', 'null'],
    ['a string', '"x"'],
    ['an object of something else', '{}'],
    ['an envelope without JSON', JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': 'x' })],
    ['an envelope with an object where its text should be', JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': inner })],
    ['an envelope whose version is a number', JSON.stringify({ 'oslo.version': 2, 'oslo.message': JSON.stringify(inner) })],
    ['a type that is no text', enveloped({ ...inner, event_type: 7 })],
    ['an endless type', enveloped({ ...inner, event_type: 'x'.repeat(256) })],
    ['a payload that is no object', enveloped({ ...inner, payload: [] })],
    ['no time', enveloped({ ...inner, timestamp: undefined })],
    ['a time that there is not', enveloped({ ...inner, timestamp: '2026-02-30 10:00:00' })],
  ])('that is %s cannot be read', (_, body) => {
    expect(read(body)).toBe(undefined);
  });

  it('that is not UTF-8 cannot be read, though only a name in it is not', () => {
    const good = Buffer.from(enveloped({ ...inner, publisher_id: 'identity.PLACE' }));
    const at = good.indexOf('PLACE');
    expect(read(good)).toBeDefined();
    good[at] = 0xff;
    expect(read(good)).toBe(undefined);
  });

  it.each([
    { over: -1, isRead: true },
    { over: 0, isRead: true },
    { over: 1, isRead: false },
  ])('of the longest size and $over bytes is read: $isRead', ({ over, isRead }) => {
    const body = enveloped(inner);
    expect(read(body + ' '.repeat(longestBodyBytes + over - body.length)) !== undefined).toBe(isRead);
  });

  it('has an id that is the same at every delivery, where it brings none of its own, too', () => {
    const { message_id: _, ...withoutId } = inner;
    expect(read(enveloped(withoutId))?.id).toBe(inner['_unique_id']);
    const { _unique_id: __, ...withNone } = withoutId;
    const id = read(enveloped(withNone))?.id;
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(read(enveloped(withNone))?.id).toBe(id);
    expect(read(enveloped({ ...withNone, payload: { resource_info: 'other' } }))?.id).not.toBe(id);
  });

  it('of any bytes, and of any JSON within a good envelope, is read or is not, and nothing throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.json(), fc.dictionary(fc.string(), fc.jsonValue()), (bytes, json, payload) => {
        const bodies = [bytes, json, enveloped(JSON.parse(json)), enveloped({ ...inner, payload }), enveloped({ ...inner, ...payload })];
        for (const body of bodies) {
          const message = read(body);
          if (message !== undefined) newsOf(message);
        }
        return true;
      }),
      { numRuns: 500 },
    );
  });
});

describe('times of Keystone', () => {
  const second = Date.UTC(2026, 10, 21, 17, 55, 58);
  it.each([
    ['2026-11-21 17:55:58.579514', 579],
    ['2026-11-21 17:55:58', 0],
    ['2026-11-21T17:55:58.578651+0000', 578],
    ['2026-11-21T17:55:58.000000Z', 0],
    ['2026-11-21T17:55:58Z', 0],
    ['2026-11-21T17:55:58.9', 900],
    ['2026-11-21T17:55:58.0099+00:00', 9],
  ])('%s is read', (text, ms) => {
    expect(keystoneTime(text)).toBe(second + ms);
    expect(secondOf(second + ms)).toBe(second);
  });

  it.each(['2026-11-21 17:55:58+0100', '2026-11-21', '2026-11-31 00:00:00', '2026-11-21 24:00:00', '21.11.2026', '', 7, null, undefined])(
    '%s is not',
    (text) => {
      expect(keystoneTime(text)).toBe(undefined);
    },
  );
});
