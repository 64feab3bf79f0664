// A client's TLS: which options fit together, which certificates are used when, and why there is no connection, in words.

import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type ConnectOptions, connect, NoAnswerError } from '../../src/client/index.ts';
import { ClientTls } from '../../src/client/tls.ts';
import { callerPair, createCa } from '../fakes/certificates.ts';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

const ca = createCa();
const pair = callerPair(ca);
const address = '127.0.0.1:8443';

async function failure(run: () => Promise<unknown>): Promise<NoAnswerError> {
  try {
    await run();
  } catch (error) {
    if (error instanceof NoAnswerError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

describe('options', () => {
  it.each<[string, ConnectOptions]>([
    ['a certificate without its key', { address, tls: { cert: pair.cert } }],
    ['a key without its certificate', { address, tls: { key: pair.key } }],
    ['a file and a text for one thing', { address, tls: { ca: ca.pem, caFile: '/ca.pem' } }],
    ['a socket', { address: 'unix:///run/x.sock', tls: { ca: ca.pem } }],
    ['no port', { address: 'sidegate.example', tls: { ca: ca.pem } }],
  ])('that do not fit together are refused at once: %s', async (_, options) => {
    expect(await failure(async () => connect(options))).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'TLS_OPTIONS' });
  });

  it.each(['127.0.0.1:1', '[::1]:1', 'a.example:1', 'dns:///a.example:1'])('an address may be %s', (one) => {
    expect(() => new ClientTls({}, one, () => 0)).not.toThrow();
  });

  it('a file that is not there is said without what else is wrong with the sidecar', async () => {
    const client = connect({ address, tls: { caFile: '/nowhere/ca.pem' } });
    ends.push(() => client.close());
    expect(await failure(() => client.status())).toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'TLS_FILES' });
  });

  it('a text that is no PEM is never repeated', async () => {
    const client = connect({ address, tls: { ca: ca.pem, cert: pair.cert, key: 'hunter2' } });
    ends.push(() => client.close());
    const error = await failure(() => client.status());
    expect(error).toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'TLS_FILES' });
    expect(`${error.message} ${error.cause}`).not.toContain('hunter2');
  });
});

describe('what a connection is made with', () => {
  it('is read once a second at the most, and is the same object until it changes', async () => {
    let nowMs = 0;
    let reads = 0;
    let text = ca.pem;
    const read = (): string => {
      reads += 1;
      return text;
    };
    const tls = new ClientTls({ ca: read, ...pair }, address, () => nowMs);
    const first = await tls.current(1000, undefined);
    text = createCa().pem;
    nowMs = 999;
    expect(await tls.current(1000, undefined)).toBe(first);
    expect(reads).toBe(1);
    nowMs = 1000;
    const second = await tls.current(1000, undefined);
    expect(second).not.toBe(first);
    nowMs = 2000;
    expect(await tls.current(1000, undefined)).toBe(second);
    expect(reads).toBe(3);
  });

  it('stays what it was while something is being replaced', async () => {
    let nowMs = 0;
    let read = (): string => pair.key;
    const tls = new ClientTls({ ca: ca.pem, cert: pair.cert, key: () => read() }, address, () => nowMs);
    const first = await tls.current(1000, undefined);
    for (const broken of [
      () => callerPair(ca).key,
      () => '',
      (): string => {
        throw new Error('away');
      },
    ]) {
      nowMs += 1000;
      read = broken;
      expect(await tls.current(1000, undefined)).toBe(first);
    }
  });

  it('is waited for no longer than the call may take', async () => {
    const tls = new ClientTls({ ca: () => new Promise<string>(() => undefined) }, address, () => 0);
    expect(await failure(() => tls.current(20, undefined))).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  });
});

it('where no TLS is spoken that is said', async () => {
  const server = createServer((socket) => socket.on('error', () => undefined).end('220 mail.example ESMTP\r\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => server.close());
  const bound = server.address();
  const client = connect({ address: `127.0.0.1:${typeof bound === 'object' && bound !== null ? bound.port : 0}`, tls: { ca: ca.pem } });
  ends.push(() => client.close());
  expect(await failure(() => client.status())).toMatchObject({ code: 'UNAVAILABLE', reason: 'TLS_NOT_SPOKEN' });
});
