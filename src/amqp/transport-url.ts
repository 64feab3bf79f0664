// Where RabbitMQ is, as oslo.messaging writes it (oslo_messaging/transport.py, TransportURL.parse; impl_rabbit.py). Pure.

import { isIP } from 'node:net';

/** One server, and who we are there. */
export interface Broker {
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
}

/** What a transport URL says; or in which way it cannot be read, in words that repeat nothing of it: it holds a password. */
export type TransportUrl =
  | {
      readonly kind: 'url';
      readonly brokers: readonly [Broker, ...Broker[]];
      readonly vhost: string;
      /** Undefined: it does not say. */
      readonly tls: boolean | undefined;
    }
  | { readonly kind: 'problem'; readonly problem: string };

/** One broker fails here, in words for people. */
class Unfit extends Error {}

// What kombu calls RabbitMQ; `rabbit` is oslo's word. Whatever follows a plus is a driver's own.
const inClear: ReadonlySet<string> = new Set(['rabbit', 'amqp', 'pyamqp', 'librabbitmq']);

/**
 * Reads `scheme://[user:password@]host[:port][,…]/vhost[?ssl=1]`. Each host has credentials of its own, `guest` where it has none (as
 * kombu has it), and port 5672, with TLS too. User, password and vhost are percent-decoded; a user may hold an `@`. No vhost is `/`.
 * Of the query only `ssl` is read: what else may stand there is about oslo.messaging itself, or names files of Keystone's host.
 */
export function parseTransportUrl(text: string): TransportUrl {
  try {
    return parsed(text.trim());
  } catch (error) {
    if (error instanceof Unfit) return { kind: 'problem', problem: error.message };
    throw error;
  }
}

function parsed(text: string): TransportUrl {
  const {
    scheme,
    netloc,
    path = '',
    query = '',
  } = /^(?<scheme>[a-z][a-z0-9+.-]*):\/\/(?<netloc>[^/?#]*)(?<path>\/[^?#]*)?(?:\?(?<query>[^#]*))?(?:#.*)?$/is.exec(text)?.groups ?? {};
  if (scheme === undefined || netloc === undefined) throw new Unfit('it is not of the form rabbit://user:password@host:port/vhost');
  const isTls = tlsOf(scheme.toLowerCase(), new URLSearchParams(query));
  const defaultPort = scheme.toLowerCase().endsWith('amqps') ? 5671 : 5672;
  const [first, ...others] = netloc
    .split(',')
    .filter((one) => one !== '')
    .map((one, at) => brokerOf(one, { at, defaultPort }));
  if (first === undefined) throw new Unfit('it names no host');
  return { kind: 'url', brokers: [first, ...others], vhost: decoded(path.slice(1)) || '/', tls: isTls };
}

function tlsOf(scheme: string, query: URLSearchParams): boolean | undefined {
  const [driver = ''] = scheme.replace(/^kombu\+/, '').split('+');
  if (driver !== 'amqps' && !inClear.has(driver)) throw new Unfit('its scheme is not rabbit');
  const said = query.getAll('ssl').join(',').toLowerCase();
  // As oslo.config reads a boolean.
  if (['1', 'true', 'on', 'yes'].includes(said)) return true;
  if (['0', 'false', 'off', 'no'].includes(said)) return false;
  if (said !== '') throw new Unfit('its ssl is neither yes nor no');
  return driver === 'amqps' ? true : undefined;
}

function brokerOf(text: string, { at, defaultPort }: { readonly at: number; readonly defaultPort: number }): Broker {
  const afterCredentials = text.lastIndexOf('@') + 1;
  const credentials = text.slice(0, Math.max(0, afterCredentials - 1));
  const colon = credentials.indexOf(':');
  const username = colon < 0 ? credentials : credentials.slice(0, colon);
  const password = colon < 0 ? '' : credentials.slice(colon + 1);
  const { host, port } = addressOf(text.slice(afterCredentials), at);
  return { host, port: port ?? defaultPort, username: decoded(username) || 'guest', password: decoded(password) || 'guest' };
}

/** As oslo_utils.netutils.parse_host_port: an IPv6 address stands in brackets, or alone and then without a port. */
function addressOf(text: string, at: number): { readonly host: string; readonly port: number | undefined } {
  const groups = /^(?:\[(?<bracketed>[^\]]*)\]|(?<bare>[^:]*|[^:]*:[^:]*:.*))(?::(?<port>\d{0,5}))?$/.exec(text)?.groups ?? {};
  const { bracketed, bare, port = '' } = groups;
  const host = bracketed ?? bare ?? '';
  const isHost = bracketed === undefined ? isIP(host) !== 0 || /^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?$/i.test(host) : isIP(host) === 6;
  if (!isHost) throw new Unfit(`host ${at + 1} is no name and no address; what is special in a password must be written as %nn`);
  if (port !== '' && (Number(port) < 1 || Number(port) > 65_535)) throw new Unfit(`the port of host ${at + 1} is none`);
  return { host, port: port === '' ? undefined : Number(port) };
}

/** As Python's `unquote`: what is no escape stays as it is, and a plus is a plus. */
function decoded(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => Buffer.from(escapes.replaceAll('%', ''), 'hex').toString('utf8'));
}
