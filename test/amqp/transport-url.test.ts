// Transport URLs as oslo.messaging reads them.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTransportUrl, type TransportUrl } from '../../src/amqp/transport-url.ts';

/** `user|password@host|port … vhost tls`, or the problem. */
function inWords(url: TransportUrl): string {
  if (url.kind === 'problem') return `problem: ${url.problem}`;
  const brokers = url.brokers.map(({ host, port, username, password }) => `${username}|${password}@${host}|${port}`);
  return `${brokers.join(' ')} in ${url.vhost}${url.tls === undefined ? '' : url.tls ? ' tls' : ' clear'}`;
}

const noForm = 'problem: it is not of the form rabbit://user:password@host:port/vhost';
const noHost = (n: number) => `problem: host ${n} is no name and no address; what is special in a password must be written as %nn`;

describe('a transport URL', () => {
  it.each([
    ['rabbit://u:p@host:5673/vh', 'u|p@host|5673 in vh'],
    ['  rabbit://u:p@host:5673/vh\n', 'u|p@host|5673 in vh'],
    ['rabbit://u:p@host', 'u|p@host|5672 in /'],
    ['rabbit://u:p@host/', 'u|p@host|5672 in /'],
    ['rabbit://u:p@host:/', 'u|p@host|5672 in /'],
    ['rabbit://u:p@host//', 'u|p@host|5672 in /'],
    ['rabbit://u:p@host/%2F', 'u|p@host|5672 in /'],
    ['rabbit://u:p@host//nova', 'u|p@host|5672 in /nova'],
    ['rabbit://u:p@host/a%20b%C3%BC', 'u|p@host|5672 in a bü'],
    ['rabbit://a:1@h1:1,b:2@h2:2,c:3@h3/vh', 'a|1@h1|1 b|2@h2|2 c|3@h3|5672 in vh'],
    ['rabbit://a:1@h1,,h2,/vh', 'a|1@h1|5672 guest|guest@h2|5672 in vh'],
    ['rabbit://u@host/', 'u|guest@host|5672 in /'],
    ['rabbit://u:@host/', 'u|guest@host|5672 in /'],
    ['rabbit://me@corp:p@host/', 'me@corp|p@host|5672 in /'],
    ['rabbit://u:a:b@host/', 'u|a:b@host|5672 in /'],
    ['rabbit://u%40:p%2F%3A%40%2C%23%3F@host/', 'u@|p/:@,#?@host|5672 in /'],
    ['rabbit://u:p+%2B%zz%4@host/', 'u|p++%zz%4@host|5672 in /'],
    ['rabbit://u:&=$-_.+!*()@host/', 'u|&=$-_.+!*()@host|5672 in /'],
    ['rabbit://u:p@[::1]:5673,u:p@[fe80::2]/', 'u|p@::1|5673 u|p@fe80::2|5672 in /'],
    ['rabbit://u:p@::1/', 'u|p@::1|5672 in /'],
    ['rabbit://u:p@10.0.0.1:5671/', 'u|p@10.0.0.1|5671 in /'],
    ['rabbit://u:p@rabbit_1.openstack.svc.cluster.local./', 'u|p@rabbit_1.openstack.svc.cluster.local.|5672 in /'],
    ['rabbit://u:p@host/?ssl=1', 'u|p@host|5672 in / tls'],
    ['rabbit://u:p@host/vh?heartbeat_rate=3&ssl=True&ssl_ca_file=/etc/x', 'u|p@host|5672 in vh tls'],
    ['rabbit://u:p@host?ssl=yes', 'u|p@host|5672 in / tls'],
    ['rabbit://u:p@host/?ssl=0', 'u|p@host|5672 in / clear'],
    ['rabbit://u:p@host/?ssl=', 'u|p@host|5672 in /'],
    ['RABBIT://u:p@host/', 'u|p@host|5672 in /'],
    ['kombu+rabbit://u:p@host/', 'u|p@host|5672 in /'],
    ['kombu+amqp://u:p@host/', 'u|p@host|5672 in /'],
    ['kombu+amqps://u:p@host/', 'u|p@host|5671 in / tls'],
    ['rabbit+own://u:p@host/', 'u|p@host|5672 in /'],
    ['amqp://u:p@host/', 'u|p@host|5672 in /'],
  ])('%s', (text, expected) => {
    expect(inWords(parseTransportUrl(text))).toBe(expected);
  });

  it.each([
    ['', noForm],
    ['host', noForm],
    ['rabbit:', noForm],
    ['//u:p@host/', noForm],
    ['rabbit:///vh', 'problem: it names no host'],
    ['rabbit://,,/vh', 'problem: it names no host'],
    ['kafka://u:p@host/', 'problem: its scheme is not rabbit'],
    ['kombu+memory://host/', 'problem: its scheme is not rabbit'],
    ['kombu://u:p@host/', 'problem: its scheme is not rabbit'],
    ['rabbit://u:p@host/?ssl=maybe', 'problem: its ssl is neither yes nor no'],
    ['rabbit://u:p@host/?ssl=1&ssl=0', 'problem: its ssl is neither yes nor no'],
    // A slash, a question mark or a comma that was not escaped.
    ['rabbit://u:se/cret@host/', noHost(1)],
    ['rabbit://u:se?cret@host/', noHost(1)],
    ['rabbit://u:p@h1,u:se,cret@host/', noHost(2)],
    ['rabbit://u:p@h1,u:p@/', noHost(2)],
    ['rabbit://u:p@host:x/', noHost(1)],
    ['rabbit://u:p@[host]/', noHost(1)],
    ['rabbit://u:p@[::1/', noHost(1)],
    ['rabbit://u:p@ho st/', noHost(1)],
    ['rabbit://u:p@host:0/', 'problem: the port of host 1 is none'],
    ['rabbit://u:p@host:65536/', 'problem: the port of host 1 is none'],
  ])('that cannot be read: %s', (text, expected) => {
    expect(inWords(parseTransportUrl(text))).toBe(expected);
  });

  it('of any text is read or is not, never throws, and what is wrong with it repeats nothing of it', () => {
    const secret = fc.string({ minLength: 6, maxLength: 20, unit: fc.constantFrom(...'Kk9/:@,?#%[]+ \n\u00e9') });
    fc.assert(
      fc.property(secret, fc.string(), (password, tail) => {
        for (const text of [password, `rabbit://u:${password}@host${tail}`, `rabbit://u:${password}`, tail]) {
          const url = parseTransportUrl(text);
          if (url.kind === 'problem') expect(url.problem).not.toContain(password);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('of any user, password and vhost, each escaped, is read as what they were', () => {
    const any = fc.string({ minLength: 1, unit: 'grapheme' });
    fc.assert(
      fc.property(any, any, any, (user, password, vhost) => {
        const written = [user, password, vhost].map((part) => encodeURIComponent(part));
        const url = parseTransportUrl(`rabbit://${written[0]}:${written[1]}@host:1/${written[2]}`);
        expect(url).toMatchObject({
          vhost: vhost,
          brokers: [{ username: user, password: password, host: 'host', port: 1 }],
        });
      }),
    );
  });
});
