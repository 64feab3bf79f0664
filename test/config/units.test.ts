// Durations, sizes and addresses as they are written.

import { describe, expect, it } from 'vitest';
import { isLoopback, parseAddress, parseDuration, parseServer, parseSize } from '../../src/config/units.ts';

describe('a duration', () => {
  it.each([
    ['0s', 0],
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 300_000],
    ['24h', 86_400_000],
  ])('%s is %i ms', (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each(['', '5', 's', '05s', '-1s', '1.5s', '1 s', '1S', '1d', '1s ', '1s\n', '1KiB', 'NaNs', '9999999999999ms'])('%j is none', (text) =>
    expect(parseDuration(text)).toBeNaN(),
  );
});

describe('a size', () => {
  it.each([
    ['0B', 0],
    ['64KiB', 65_536],
    ['8MiB', 8_388_608],
    ['1GiB', 1_073_741_824],
  ])('%s is %i bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(['', '1', '1K', '1KB', '1kib', '1.5MiB', '5s'])('%j is none', (text) => expect(parseSize(text)).toBeNaN());
});

describe('an address', () => {
  it.each([
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['0.0.0.0:65535', '0.0.0.0', 65_535],
    ['[::1]:8471', '::1', 8471],
    ['localhost:1', 'localhost', 1],
  ])('%s is %s and %i', (text, host, port) => expect(parseAddress(text)).toEqual({ host, port }));

  it.each([
    '',
    ':1',
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:65536',
    '::1:1',
    '[127.0.0.1]:1',
    'example.org:1',
    '127.1:1',
    '1.2.3.4:5 ',
    '[::1]',
  ])('%j is none', (text) => expect(parseAddress(text)).toBeUndefined());

  it('is loopback by its look', () => {
    expect(['127.0.0.1', '127.9.9.9', '::1', 'localhost'].every(isLoopback)).toBe(true);
    expect(['0.0.0.0', '::', '10.0.0.1', '127.evil.example', '128.0.0.1'].some(isLoopback)).toBe(false);
  });
});

describe('a server', () => {
  it.each([
    ['memcached-0.region-two:11211', 'memcached-0.region-two', 11_211],
    ['10.0.0.7:1', '10.0.0.7', 1],
    ['[::1]:65535', '::1', 65_535],
    ['cache_1:11211', 'cache_1', 11_211],
    [`${'h'.repeat(253)}:1`, 'h'.repeat(253), 1],
  ])('%s is %s and %i', (text, host, port) => expect(parseServer(text)).toEqual({ host, port }));

  it.each([
    '',
    ':1',
    'memcached',
    'memcached:',
    'memcached:0',
    'memcached:65536',
    '-memcached:1',
    'memcached-:1',
    'mem cached:1',
    'user@memcached:1',
    '::1:1',
    '[10.0.0.7]:1',
    '10.0.0:1',
    '10.0.0.256:1',
    `${'h'.repeat(254)}:1`,
    'memcached:1 ',
  ])('%j is none', (text) => expect(parseServer(text)).toBeUndefined());
});
