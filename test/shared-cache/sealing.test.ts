// Sealing: names tell nothing, and whatever was touched, moved or written by others does not open.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPlaces, envelopeBytes } from '../../src/shared-cache/sealing.ts';
import { keyOf } from './fixtures.ts';

const endsAtMs = Date.UTC(2026, 10, 21);
const value = Buffer.from('{"user":"alice"}');
const ours = createPlaces([keyOf('a')]);
const [place] = ours('token 1');

describe('a name', () => {
  it('is a key of 47 characters that memcached takes, whatever the name', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 2_000 }), (name) => /^sg1:[\w-]{43}$/.test(ours(name)[0].key)),
      { numRuns: 50 },
    );
  });

  it('is the same key every time, another for another name, and another for another deployment', () => {
    expect(createPlaces([{ ...keyOf('a'), id: 'another file' }])('token 1')[0].key).toBe(place.key);
    expect(ours('token 2')[0].key).not.toBe(place.key);
    expect(createPlaces([keyOf('b')])('token 1')[0].key).not.toBe(place.key);
  });

  it.each([
    ['halves of different characters', '\ud800', '\ud801'],
    ['composed and decomposed', '\u00e9', 'e\u0301'],
    ['nothing and a zero', '', '\u0000'],
  ])('is told from one that only looks alike: %s', (_, one, other) => {
    expect(ours(one)[0].key).not.toBe(ours(other)[0].key);
  });
});

describe('an envelope', () => {
  it('opens to the value and its end, and adds as many bytes as it says', () => {
    const envelope = place.seal(value, endsAtMs);

    expect(place.open(envelope)).toEqual({ value, endsAtMs });
    expect(envelope.length).toBe(value.length + envelopeBytes);
    expect(place.seal(Buffer.alloc(0), 0).length).toBe(envelopeBytes);
  });

  it('is never the same twice, and shows neither value nor name', () => {
    const envelopes = Array.from({ length: 50 }, () => place.seal(value, endsAtMs).toString('latin1'));

    expect(new Set(envelopes).size).toBe(50);
    expect(envelopes.filter((text) => text.includes('alice') || text.includes('token'))).toEqual([]);
  });

  it('does not open when one bit of any of its bytes is another', () => {
    const envelope = place.seal(value, endsAtMs);
    const opened = Array.from(envelope, (byte, at) => {
      const tampered = Buffer.from(envelope);
      tampered[at] = byte ^ (1 << (at % 8));
      return place.open(tampered);
    });

    expect(opened).toHaveLength(envelopeBytes + value.length);
    expect(opened.filter((one) => one !== undefined)).toEqual([]);
  });

  it('does not open when it is cut anywhere or longer', () => {
    const envelope = place.seal(value, endsAtMs);
    const cut = Array.from({ length: envelope.length }, (_, length) => place.open(envelope.subarray(0, length)));

    expect(cut.filter((one) => one !== undefined)).toEqual([]);
    expect(place.open(Buffer.concat([envelope, Buffer.alloc(1)]))).toBeUndefined();
    expect(place.open(envelope.subarray(1))).toBeUndefined();
  });

  it('opens nowhere but in its place: not under another name, not under another key', () => {
    const envelope = place.seal(value, endsAtMs);

    expect(ours('token 2')[0].open(envelope)).toBeUndefined();
    expect(createPlaces([keyOf('b')])('token 1')[0].open(envelope)).toBeUndefined();
    expect(createPlaces([keyOf('b'), keyOf('a')])('token 1').map((one) => one.open(envelope)?.value)).toEqual([undefined, value]);
  });

  it('whatever bytes are there, opening does not throw and finds nothing', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => place.open(bytes) === undefined));
  });

  it('of another format does not open', () => {
    const envelope = place.seal(value, endsAtMs);

    expect(place.open(Buffer.concat([Buffer.from([2]), envelope.subarray(1)]))).toBeUndefined();
  });
});

describe('several keys', () => {
  it('are several places, the newest first', () => {
    const places = createPlaces([keyOf('c'), keyOf('a'), keyOf('b')])('token 1');

    expect(places.map(({ key }) => key)).toEqual(['c', 'a', 'b'].map((letter) => createPlaces([keyOf(letter)])('token 1')[0].key));
    expect(new Set(places.map(({ keyId }) => keyId)).size).toBe(3);
  });

  it('that are one secret in several files are one place', () => {
    const places = createPlaces([keyOf('a'), keyOf('b'), { ...keyOf('a'), id: 'a copy' }, { ...keyOf('b'), id: 'another' }])('token 1');

    expect(places).toHaveLength(2);
  });
});
