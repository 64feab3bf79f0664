// Durations, sizes and listening addresses as they are written in the configuration.

import { isIP } from 'node:net';
import type { Address } from './types.ts';

const msOf: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const bytesOf: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** What a duration looks like: `250ms 30s 5m 24h`. */
export const durationPattern: RegExp = /^(0|[1-9]\d{0,11})(ms|s|m|h)$/;

/** What a size looks like: `512B 64KiB 8MiB 1GiB`. */
export const sizePattern: RegExp = /^(0|[1-9]\d{0,11})(B|KiB|MiB|GiB)$/;

/** Milliseconds. NaN where it is not a duration. */
export const parseDuration = (text: string): number => measure(text, durationPattern, msOf);

/** Bytes. NaN where it is not a size. */
export const parseSize = (text: string): number => measure(text, sizePattern, bytesOf);

function measure(text: string, pattern: RegExp, units: Readonly<Record<string, number>>): number {
  const [, count, unit] = pattern.exec(text) ?? [];
  return Number(count ?? NaN) * (units[unit ?? ''] ?? NaN);
}

/** `127.0.0.1:8471`, `localhost:0`, `[::1]:8471`: a numeric address or `localhost`, and a port. Undefined where it is not. */
export function parseAddress(text: string): Address | undefined {
  const [, bracketed, bare, digits] = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? bare ?? '';
  const port = Number(digits);
  const known = bracketed === undefined ? isIP(host) === 4 || host === 'localhost' : isIP(host) === 6;
  return known && port <= 65_535 ? { host, port } : undefined;
}

/** The same, of a server somewhere: a host name will do, and the port is one that can be called. Undefined where it is not. */
export function parseServer(text: string): Address | undefined {
  const [, bracketed, bare, digits] =
    /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? bare ?? '';
  const port = Number(digits);
  // What looks like an IPv4 address is one, or a slip of the pen.
  const known = bracketed === undefined ? bare !== undefined && (isIP(host) === 4 || /[^\d.]/.test(host)) : isIP(host) === 6;
  return known && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

/** Is `host` (without brackets) this machine itself, by its look? Names are not resolved. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
