// What a follower tells goes in its order, one call at a time, and nothing follows one that fails; and what it must not be told.

import { Readable } from 'node:stream';
import { credentials } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import type { UpstreamConnection } from '../../src/fleet/follow-connection.ts';
import { createFollowLink } from '../../src/fleet/follow-link.ts';
import { FleetServiceClient } from '../../src/gen/sidegate/v1/token_service.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A connection whose calls a test answers. */
function stageOf() {
  const ended = new AbortController();
  const calls: { readonly texts: readonly string[]; answer(): void; refuse(cause: Error): void }[] = [];
  const connection: UpstreamConnection = {
    upstream: 'the sidecar at 127.0.0.1:1',
    // Connects to nothing before it is asked.
    client: new FleetServiceClient('127.0.0.1:1', credentials.createInsecure()),
    signal: ended.signal,
    fail(cause) {
      const error = new Error('the connection has ended', { cause });
      if (!ended.signal.aborted) ended.abort(error);
      return ended.signal.reason;
    },
    append: (records) =>
      new Promise((answer, refuse) => {
        calls.push({ texts: records.map((bytes) => Buffer.from(bytes).toString()), answer, refuse });
      }),
  };
  const link = createFollowLink(connection, () => undefined);
  const outcomes: string[] = [];
  const append = (name: string): void => {
    link.append(Buffer.from(name)).then(
      () => outcomes.push(`${name} is there`),
      (error: unknown) => outcomes.push(`${name}: ${error instanceof Error ? error.message : 'unknown'}`),
    );
  };
  return { link, calls, outcomes, append };
}

it('goes in one call after the other, with all that has come meanwhile', async () => {
  const { calls, outcomes, append } = stageOf();
  for (const name of ['a', 'b', 'c']) append(name);
  calls[0]?.answer();
  await turn();
  expect(calls.map(({ texts }) => texts)).toEqual([['a'], ['b', 'c']]);
  calls[1]?.answer();
  await turn();
  expect(outcomes).toEqual(['a is there', 'b is there', 'c is there']);
});

it('ends the connection with the first call that fails: what waits behind it, and what comes, is not told over it', async () => {
  const { link, calls, outcomes, append } = stageOf();
  for (const name of ['a', 'b', 'c']) append(name);
  // An upstream that has no room goes on answering.
  calls[0]?.refuse(new Error('RESOURCE_EXHAUSTED'));
  await turn();
  append('d');
  await turn();
  expect(calls.map(({ texts }) => texts)).toEqual([['a']]);
  expect(link.signal.aborted).toBe(true);
  expect(outcomes.sort()).toEqual(['a', 'b', 'c', 'd'].map((name) => `${name}: the connection has ended`));
});

it('a position that no log has ends the connection, and is given to nobody', async () => {
  const messages = [0n, 9_007_199_254_740_991n, 9_007_199_254_740_992n].map((position) => ({
    records: [{ position, content: Buffer.from('a') }],
  }));
  const stream = Object.assign(Readable.from([{ records: [] }, ...messages]), { cancel: () => undefined });
  const ended = new AbortController();
  const connection = {
    upstream: 'the sidecar at host:1',
    client: { readRecords: () => stream },
    signal: ended.signal,
    fail: (cause: unknown) => {
      ended.abort(cause);
      return cause;
    },
    append: async () => undefined,
  } as unknown as UpstreamConnection;
  const read: number[] = [];
  const reading = createFollowLink(connection, () => undefined).read(
    undefined,
    async (batch) => void read.push(...batch.map(({ position }) => position)),
    new AbortController().signal,
  );
  await expect(reading).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'LOG_UNREACHABLE' });
  expect([read, ended.signal.aborted]).toEqual([[0, Number.MAX_SAFE_INTEGER], true]);
});
