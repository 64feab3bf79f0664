// The envelope: the specification's own vector, Keystone's keys, and everything that somebody may do to a token.

import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openFernet, readFernet, readFernetKey } from '../../src/formats/fernet.ts';
import { newFernetKey, sealFernet } from '../fakes/keystone-keys.ts';
import { capturedTokens, keyVectors } from '../fakes/keystone-vectors.ts';

const keyOf = (text: string) => readFernetKey(text) ?? expect.unreachable('that is no key');
const envelopeOf = (raw: string) => readFernet(raw) ?? expect.unreachable('that is no Fernet token');

describe('a Fernet token', () => {
  it('is opened as the specification says', () => {
    const { secret, token, now, src } = keyVectors.spec;
    const envelope = envelopeOf(token);

    expect(envelope.madeAtMs).toBe(now * 1000);
    expect(openFernet(envelope, [keyOf(secret)])?.payload.toString()).toBe(src);
  });

  it('of a real Keystone is opened by the key it was made with, wherever that stands among the others', () => {
    const [staged, primary] = [keyVectors.captured.fernet['0'] ?? '', keyVectors.captured.fernet['1'] ?? ''].map(keyOf);
    if (!staged || !primary) return expect.unreachable();

    for (const { token } of Object.values(capturedTokens)) {
      expect(openFernet(envelopeOf(token), [staged, primary])?.key).toBe(primary);
      expect(openFernet(envelopeOf(token), [staged])).toBeUndefined();
    }
  });

  it('is not opened by another key, nor by none, nor by half of its own', () => {
    const key = newFernetKey();
    const token = envelopeOf(sealFernet(key, Buffer.from('payload'), 1_700_000_000_000));
    const other = newFernetKey();
    const bytesOf = (text: string) => Buffer.from(text, 'base64');
    const half = Buffer.concat([bytesOf(other).subarray(0, 16), bytesOf(key).subarray(16)]).toString('base64');

    expect(openFernet(token, [])).toBeUndefined();
    expect(openFernet(token, [keyOf(other), keyOf(half)])).toBeUndefined();
    expect(openFernet(token, [keyOf(other), keyOf(key)])?.payload.toString()).toBe('payload');
  });

  it('is not opened once a single bit of it has changed, wherever that is', () => {
    const key = keyOf(keyVectors.fernetKey);
    const { token = '' } = keyVectors.fernet[0] ?? {};
    const bytes = Buffer.from(token, 'base64url');
    const regions = { version: 0, timestamp: 1, iv: 9, ciphertext: 25, mac: bytes.length - 32 };
    expect(Object.values(regions).every((at) => at < bytes.length)).toBe(true);

    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const tampered = Buffer.from(bytes);
      tampered.writeUInt8(tampered.readUInt8(bit >>> 3) ^ (1 << (bit & 7)), bit >>> 3);
      const envelope = readFernet(tampered.toString('base64url'));
      expect(envelope && openFernet(envelope, [key]), `bit ${bit}`).toBeUndefined();
    }
    expect(openFernet(envelopeOf(token), [key])).toBeDefined();
  });

  it('that who has the key has filled with something that is no padded text has nothing in it', () => {
    const key = newFernetKey();
    const bytes = Buffer.from(sealFernet(key, randomBytes(32), 1_700_000_000_000), 'base64url');
    // Rightly signed, but the last block of the ciphertext is gone: with it the padding.
    const cut = Buffer.concat([bytes.subarray(0, 25 + 32)]);
    const mac = createHmac('sha256', Buffer.from(key, 'base64').subarray(0, 16)).update(cut).digest();

    const opened = openFernet(envelopeOf(Buffer.concat([cut, mac]).toString('base64url')), [keyOf(key)]);
    expect(opened?.payload.length).toBe(0);
  });

  it.each([
    ['nothing', ''],
    ['another version', Buffer.concat([Buffer.from([0x81]), Buffer.alloc(72)]).toString('base64url')],
    ['no whole block', Buffer.concat([Buffer.from([0x80]), Buffer.alloc(72 + 8)]).toString('base64url')],
    ['no ciphertext', Buffer.concat([Buffer.from([0x80]), Buffer.alloc(56)]).toString('base64url')],
    ['a time that no clock shows', Buffer.concat([Buffer.from([0x80]), Buffer.alloc(8, 0xff), Buffer.alloc(64)]).toString('base64url')],
  ])('of %s is none', (_, raw) => {
    expect(readFernet(raw)).toBeUndefined();
  });

  it('random strings and bytes are never opened, and never throw', () => {
    const key = keyOf(keyVectors.fernetKey);
    const dressed = fc
      .uint8Array({ maxLength: 300 })
      .map((bytes) => Buffer.concat([Buffer.from([0x80, 0, 0, 0, 0]), bytes]).toString('base64url'));
    fc.assert(
      fc.property(fc.oneof(fc.string(), dressed), (raw) => {
        const envelope = readFernet(raw);
        expect(envelope && openFernet(envelope, [key])).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });
});

describe('a key', () => {
  const text = newFernetKey();

  it('is the same key in either alphabet, with white space around it, and without its padding', () => {
    const standard = text.replaceAll('-', '+').replaceAll('_', '/');
    const ids = [text, standard, ` ${text}\n`, `${text}\r\n`, text.replace('=', '')].map((one) => readFernetKey(one)?.id);

    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).toBeDefined();
  });

  it.each([
    ['half of it', text.slice(0, 22)],
    ['one character less', text.slice(0, 42)],
    ['one more', `A${text}`],
    ['32 bytes that nobody encoded', randomBytes(32).toString('latin1')],
    ['two of them', `${text}\n${text}`],
    ['nothing', ''],
  ])('%s is none', (_, half) => {
    expect(readFernetKey(half)).toBeUndefined();
  });

  it('has an id that tells it from others, and nothing of it', () => {
    const { id } = keyOf(text);
    expect(id).not.toBe(keyOf(newFernetKey()).id);
    expect(id).not.toContain(text.slice(0, 8));
    expect(JSON.stringify(id)).not.toContain(Buffer.from(text, 'base64').toString('hex').slice(0, 8));
  });
});
