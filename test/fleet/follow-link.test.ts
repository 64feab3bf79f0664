// What a follower tells goes in its order, one call at a time; where one of them fails nobody knows what the log has, and nothing follows it.

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
