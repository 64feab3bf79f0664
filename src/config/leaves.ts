// The kinds of values that a setting may have, each with the one sentence that says what it must be.

import * as z from 'zod';
import { spiffeIdPattern } from '../core/spiffe-id.ts';
import { foreignTokenTypes, isAccessTokenType } from '../core/token-types.ts';
import { nearest } from './nearest.ts';
import type { Secret } from './secrets.ts';
import { durationPattern, isLoopback, parseAddress, parseDuration, parseServer, parseSize, sizePattern } from './units.ts';

/** How paths that are written become what is used. */
export interface Files {
  /** Absolute; what is relative is taken from the configuration's directory. */
  path(written: string): string;
  secret(written: string): Secret;
}

/** A part of the configuration: how it may be written (parsing fills in the defaults), and what it means. */
export interface Section<T> {
  readonly schema: z.ZodType;
  /** Throws where `schema` does not hold. */
  read(written: unknown, files: Files): T;
}

/** A part whose written form is `schema`. */
export function section<S extends z.ZodType, T>(schema: S, mean: (written: z.output<S>, files: Files) => T): Section<T> {
  return { schema, read: (written, files) => mean(schema.parse(written), files) };
}

/** Settings under a name. One sentence a line for each key that is not known, in the order of the issue's `keys`. */
export function mapping<S extends z.ZodRawShape>(shape: S): z.ZodObject<S, z.core.$strict> {
  const known = Object.keys(shape);
  const error = (issue: z.core.$ZodRawIssue): string =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key: string) => unknownKey(key, known)).join('\n')
      : 'must hold settings of its own';
  return z.strictObject(shape, { error });
}

/** What is said of a key that is not in `known`. */
export function unknownKey(key: string, known: readonly string[]): string {
  return `is not a setting here; did you mean "${nearest(key, known)}"?`;
}

/** Exactly one of the keys of `shape`, all of which are optional. */
export function oneOf<S extends z.ZodRawShape>(shape: S): z.ZodObject<S, z.core.$strict> {
  const error = `must hold exactly one of ${Object.keys(shape).join(', ')}`;
  return mapping(shape).refine((it) => Object.values(it).filter((value) => value !== undefined).length === 1, { error });
}

/** Elements in a list, none twice. */
export function list<E extends z.ZodType>(element: E, of: { readonly min: number; readonly max: number }): z.ZodArray<E> {
  const error = `must be a list of ${of.min} to ${of.max} elements, none of them twice`;
  const distinct = (them: readonly unknown[]): boolean => new Set(them.map((it) => JSON.stringify(it))).size === them.length;
  return z.array(element, { error }).min(of.min, error).max(of.max, error).refine(distinct, { error });
}

/** A duration in its written form, between `min` and `max` (inclusive). */
export function duration(min: string, max: string): z.ZodType<string> {
  const error = `must be a duration from ${min} to ${max}, written like 250ms, 30s, 5m or 24h`;
  const fits = (it: string): boolean => parseDuration(it) >= parseDuration(min) && parseDuration(it) <= parseDuration(max);
  return z.string({ error }).regex(durationPattern, error).refine(fits, { error }).meta(about(error, { min, max }));
}

/** A size in its written form, between `min` and `max` (inclusive). */
export function size(min: string, max: string): z.ZodType<string> {
  const error = `must be a size from ${min} to ${max}, written like 64KiB, 8MiB or 1GiB`;
  const fits = (it: string): boolean => parseSize(it) >= parseSize(min) && parseSize(it) <= parseSize(max);
  return z.string({ error }).regex(sizePattern, error).refine(fits, { error }).meta(about(error, { min, max }));
}

/** A whole number between `min` and `max` (inclusive). */
export function count(min: number, max: number): z.ZodType<number> {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.number({ error }).int(error).min(min, error).max(max, error).meta(about(error));
}

/** A number between `min` and `max` (inclusive). */
export function part(min: number, max: number): z.ZodType<number> {
  const error = `must be a number from ${min} to ${max}`;
  return z.number({ error }).min(min, error).max(max, error).meta(about(error));
}

/** On or off. */
export function flag(): z.ZodType<boolean> {
  const error = 'must be true or false';
  return z.boolean({ error }).meta(about(error));
}

/** One of `values`. */
export function choice<const V extends string>(values: readonly V[]): z.ZodType<V> {
  const error = `must be one of ${values.join(', ')}`;
  return z.enum(values, { error }).meta(about(error));
}

/** A name of our own, used in metrics and answers. */
export function label(): z.ZodType<string> {
  const error = 'must be a name of 1 to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit (a number in quotes)';
  return z
    .string({ error })
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, error)
    .meta(about(error));
}

/** Of a RabbitMQ stream or a JetStream stream: what both allow, and what needs no escape. */
export function logName(): z.ZodType<string> {
  const error = 'must be a name of 1 to 64 letters, digits, "_" and "-"';
  return z
    .string({ error })
    .regex(/^[A-Za-z0-9_-]{1,64}$/, error)
    .meta(about(error));
}

/** What a deployment key is told by in the log of a fleet. */
export function keyLabel(): z.ZodType<string> {
  const error = 'must be the 16 hex digits that the log line named (in quotes)';
  return z
    .string({ error })
    .regex(/^[0-9a-f]{16}$/, error)
    .meta(about(error));
}

/** One line of text of somebody else's choice. */
export function text(max: number): z.ZodType<string> {
  const error = `must be text of 1 to ${max} characters on one line (in quotes where it looks like a number)`;
  return z
    .string({ error })
    .max(max, error)
    .regex(/^[^\p{Cc}]+$/u, error)
    .meta(about(error));
}

/** Printable ASCII without spaces: what tokens are made of. */
export function tokenText(max: number): z.ZodType<string> {
  const error = `must be 1 to ${max} characters that a token may have: no spaces, ASCII only`;
  return z
    .string({ error })
    .max(max, error)
    .regex(/^[!-~]+$/, error)
    .meta(about(error));
}

/** A `typ` that an access token may have, in any spelling (RFC 7515 §4.1.9). */
export function tokenType(): z.ZodType<string> {
  const error = `must be the type of an access token, 1 to 255 characters on one line: none of ${foreignTokenTypes.join(', ')}`;
  return z
    .string({ error })
    .max(255, error)
    .regex(/^[^\p{Cc}]+$/u, error)
    .refine(isAccessTokenType, { error })
    .meta(about(error));
}

/** Who a workload is, by the SPIFFE ID specification §2: at most 2,048 characters, of which 255 for the trust domain. */
export function spiffeId(): z.ZodType<string> {
  const error = 'must be a SPIFFE ID, such as "spiffe://example.org/ns/security/sa/responder"';
  return z.string({ error }).max(2048, error).regex(spiffeIdPattern, error).meta(about(error));
}

/** A name that a certificate has, whole: no wildcard. */
export function dnsName(): z.ZodType<string> {
  const error = 'must be a DNS name as a certificate has it, without wildcards, such as nova-api.example.org';
  return z
    .string({ error })
    .max(253, error)
    .regex(/^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*$/, error)
    .meta(about(error));
}

/** A path, absolute or relative to the configuration. */
export function path(): z.ZodType<string> {
  const error = 'must be a path of 1 to 4096 characters';
  return z
    .string({ error })
    .max(4096, error)
    .regex(/^[^\p{Cc}]+$/u, error)
    .meta(about(error));
}

/** Permission bits, in octal and in quotes. */
export function fileMode(): z.ZodType<string> {
  const error = 'must be permission bits in octal, in quotes, such as "0660"';
  return z
    .string({ error })
    .regex(/^0?[0-7]{3}$/, error)
    .meta(about(error));
}

/** Where to listen. */
export function address(which: 'loopback' | 'any'): z.ZodType<string> {
  const error =
    which === 'loopback'
      ? 'must be a loopback address and a port, such as 127.0.0.1:8471 or "[::1]:8471"'
      : 'must be a numeric address and a port, such as 127.0.0.1:8472 or 0.0.0.0:8472';
  const fits = (it: string): boolean => {
    const parsed = parseAddress(it);
    return parsed !== undefined && (which === 'any' || isLoopback(parsed.host));
  };
  return z.string({ error }).refine(fits, { error }).meta(about(error));
}

/** A server somewhere. */
export function server(): z.ZodType<string> {
  const error = 'must be a host and a port, such as memcached-0.region-two:11211 or 10.0.0.7:11211';
  return z
    .string({ error })
    .refine((it) => parseServer(it) !== undefined, { error })
    .meta(about(error));
}

/** An http(s) URL. It never holds a secret: no user, no password; a query only where `query` is allowed. */
export function url(query: 'with query' | 'without query'): z.ZodType<string> {
  const extra = query === 'without query' ? ', query' : '';
  const error = `must be an https:// or http:// URL without user, password${extra} and fragment`;
  const fits = (it: string): boolean => {
    if (!/^https?:\/\/[^\s]+$/.test(it) || !URL.canParse(it)) return false;
    const { username, password } = new URL(it);
    return username === '' && password === '' && !it.includes('#') && (query === 'with query' || !it.includes('?'));
  };
  return z.string({ error }).max(2048, error).refine(fits, { error }).meta(about(error));
}

/** What editors and the tests learn of a setting beyond what JSON Schema can say. */
function about(sentence: string, range?: { readonly min: string; readonly max: string }): Record<string, unknown> {
  const description = sentence.replace(/^must be /, '');
  return range === undefined ? { description } : { description, 'x-minimum': range.min, 'x-maximum': range.max };
}
