// Opaque tokens: what the authority says is what is read.

import { expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { createOpaqueFormat } from '../../src/formats/opaque.ts';
import type { Reading, Upstream } from '../../src/ports.ts';

const refused: Reading = { kind: 'inactive', reason: 'REFUSED', clockOffsetMs: 7 };
const health = { reachable: true, lastAnswerAtMs: 5 };

function upstreamOf(answer: () => Promise<Reading>) {
  const asked: { raw: string; signal: AbortSignal }[] = [];
  const upstream: Upstream = {
    ask: (raw, signal) => {
      asked.push({ raw, signal });
      return answer();
    },
    health: () => health,
  };
  return { upstream, asked };
}

it('reads a token by asking, with the token as it is and the signal of the call', async () => {
  const { upstream, asked } = upstreamOf(async () => refused);
  const format = createOpaqueFormat(upstream);
  const { signal } = new AbortController();
  expect(await format.read('ptr_1', signal)).toBe(refused);
  expect(asked).toEqual([{ raw: 'ptr_1', signal }]);
  expect(asked[0]?.signal).toBe(signal);
});

it('has no answer where the authority has none', async () => {
  const error = new SidecarError('UNAVAILABLE', 'down', { reason: 'KEYSTONE_UNREACHABLE' });
  const format = createOpaqueFormat(upstreamOf(() => Promise.reject(error)).upstream);
  await expect(format.read('ptr_1', new AbortController().signal)).rejects.toBe(error);
});

it('is named opaque, is as well as its authority, and does nothing in the background', () => {
  const format = createOpaqueFormat(upstreamOf(async () => refused).upstream);
  expect(format.name).toBe('opaque');
  expect(format.health()).toBe(health);
  expect(format.run).toBeUndefined();
});
