// One message of Keystone's bus, out of what oslo.messaging has wrapped it in.

import { createHash } from 'node:crypto';
import { keystoneTime } from './keystone-time.ts';

/** A notification, as far as every one has the same members. */
export interface KeystoneMessage {
  /** The same whenever and wherever it is delivered. */
  readonly id: string;
  /** For example `identity.user.deleted`. */
  readonly eventType: string;
  /** When it was sent, by Keystone's clock, in milliseconds since the epoch. */
  readonly atMs: number;
  readonly payload: Readonly<Record<string, unknown>>;
}

/** A longer body is not read: Keystone's have one or two kilobytes. */
export const longestBodyBytes: number = 1024 ** 2;

const utf8 = new TextDecoder('utf-8', { fatal: true });
// Its version is 2.0 since 2012; what has the same first number can be read (oslo_messaging/_utils.py version_is_compatible).
const readableVersion = /^2\.\d{1,9}(\.\d{1,9})?$/;

/**
 * What `body` says; undefined where it cannot be read, and then nobody can tell what was missed.
 * Driver `messagingv2`: an envelope with a version, and the message as JSON text within (oslo_messaging/_drivers/common.py).
 * Driver `messaging`: the message itself. Both have the same members.
 */
export function readKeystoneMessage(body: Uint8Array): KeystoneMessage | undefined {
  if (body.byteLength > longestBodyBytes) return undefined;
  const message = unwrapped(jsonObject(textOf(body)));
  const { event_type: eventType, payload } = message ?? {};
  const atMs = keystoneTime(message?.['timestamp']);
  if (message === undefined || !isName(eventType) || !isObject(payload) || atMs === undefined) return undefined;
  return { id: idOf(message, body), eventType, atMs, payload };
}

/** Whether it is text that can be an id or a name, and is not without end. */
export function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 255;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unwrapped(outer: Record<string, unknown> | undefined): Record<string, unknown> | undefined {
  if (outer === undefined || !('oslo.version' in outer && 'oslo.message' in outer)) return outer;
  const { 'oslo.version': version, 'oslo.message': inner } = outer;
  return typeof version === 'string' && readableVersion.test(version) && typeof inner === 'string' ? jsonObject(inner) : undefined;
}

function idOf({ message_id: id, _unique_id: unique }: Record<string, unknown>, body: Uint8Array): string {
  if (isName(id)) return id;
  return isName(unique) ? unique : createHash('sha256').update(body).digest('hex');
}

function textOf(body: Uint8Array): string {
  try {
    return utf8.decode(body);
  } catch (_notText) {
    return '';
  }
}

function jsonObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch (_notJson) {
    // Its message quotes the text: it goes no further.
    return undefined;
  }
}
