// Positions that a followed sidecar tells: none is taken that no log has.

import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import type { UpstreamConnection } from '../../src/fleet/follow-connection.ts';
import { createFollowLink } from '../../src/fleet/follow-link.ts';

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
