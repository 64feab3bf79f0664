// Keystone's messages: those that a real one has sent, by action and format, and ones made as it makes them.

import { randomUUID } from 'node:crypto';
import basic from '../vectors/notifications/basic.json' with { type: 'json' };
import cadf from '../vectors/notifications/cadf.json' with { type: 'json' };

export type MessageFormat = 'basic' | 'cadf';

/** What a Keystone sent for one action. */
export interface CapturedAction {
  /** Of what the action was about, by short names: `user`, `prj`, `dom`, `grp`, `trust`, … */
  readonly ids: Readonly<Record<string, string>>;
  /** The messages' bodies, as they were on the wire. */
  readonly bodies: readonly string[];
}

const captures: Readonly<Record<MessageFormat, Readonly<Record<string, CapturedAction>>>> = { basic: basic.actions, cadf: cadf.actions };

/** How Keystone publishes: the same for every message. */
export const published = { exchange: cadf.exchange, routingKey: cadf.routing_key, properties: cadf.properties } as const;

/** The names of the actions that were captured in that format. */
export function capturedActions(format: MessageFormat): readonly string[] {
  return Object.keys(captures[format]);
}

export function captured(format: MessageFormat, action: string): CapturedAction {
  const found = captures[format][action];
  if (found === undefined) throw new Error(`no capture of ${action} in ${format}`);
  return found;
}

/** The message within an envelope of `messagingv2`. */
export function innerOf(body: string): Record<string, unknown> {
  return JSON.parse(JSON.parse(body)['oslo.message']);
}

/** A body as the driver `messagingv2` writes it. */
export function enveloped(inner: unknown, version = '2.0'): string {
  return JSON.stringify({ 'oslo.version': version, 'oslo.message': JSON.stringify(inner) });
}

/** A message of that type about `id`, as basic notifications are, sent at `atMs`. */
export function basicMessage(eventType: string, id: string, atMs: number = Date.now()): Record<string, unknown> {
  return {
    message_id: randomUUID(),
    publisher_id: 'identity.test',
    event_type: eventType,
    priority: 'INFO',
    payload: { resource_info: id, request_id: `req-${randomUUID()}` },
    timestamp: new Date(atMs).toISOString().replace('T', ' ').replace('Z', '000'),
    _unique_id: randomUUID().replaceAll('-', ''),
  };
}
