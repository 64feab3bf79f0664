// A way to a server over TCP that can be hurt: whoever asks through it has the same server, with a fault between.

import { createServer, connect as dial, type Socket } from 'node:net';

/**
 * How it is. `hanging`: connections are taken, and nothing passes, neither over those that stand; `slow`: everything passes late;
 * `mute`: what the server says does not come through; `deaf`: it does not hear what it is told.
 */
export type WayState = 'open' | 'hanging' | 'slow' | 'mute' | 'deaf';

/** The running proxy. */
export interface Way {
  readonly port: number;
  /** `host:port`. */
  readonly address: string;
  /** From now on. What was held back is lost, so when it opens again connections that have lost something are cut. */
  become(state: WayState): void;
  close(): void;
}

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  hasLost: boolean;
}

/** By how much everything is late while it is slow, each way, in milliseconds. */
export const slowMs = 200;

/** Opens one to a port of loopback. */
export async function openWay(target: number): Promise<Way> {
  const pairs = new Set<Pair>();
  let state: WayState = 'open';

  const server = createServer((near) => {
    const far = dial({ port: target, host: '127.0.0.1' });
    const pair: Pair = { near, far, hasLost: false };
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      // Either end may be killed at any time; one that says goodbye is not heard while nothing passes.
      socket.on('error', end);
      socket.on('close', end);
    }
    const pass = (from: Socket, to: Socket, blocked: WayState): void => {
      const late: { readonly part: Buffer; readonly dueMs: number }[] = [];
      const hand = (part: Buffer): void => {
        if (to.destroyed || to.write(part)) return;
        from.pause();
        to.once('drain', () => from.resume());
      };
      const handLate = (): void => {
        for (let next = late[0]; next && next.dueMs <= performance.now(); next = late[0]) {
          late.shift();
          hand(next.part);
        }
        const [next] = late;
        if (next && !to.destroyed) setTimeout(handLate, Math.max(1, next.dueMs - performance.now()));
      };
      from.on('data', (part: Buffer) => {
        if (state === 'hanging' || state === blocked) {
          pair.hasLost = true;
        } else if (state === 'slow' || late.length > 0) {
          // Nothing passes what is late already.
          late.push({ part, dueMs: performance.now() + (state === 'slow' ? slowMs : 0) });
          if (late.length === 1) setTimeout(handLate, slowMs);
        } else {
          hand(part);
        }
      });
    };
    pass(near, far, 'deaf');
    pass(far, near, 'mute');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the way has no port');
  return {
    port: address.port,
    address: `127.0.0.1:${address.port}`,
    become(next) {
      state = next;
      // A stream of bytes with a hole is no stream. Those that were silent meanwhile go on as they are.
      if (next === 'open') {
        for (const { near, far, hasLost } of [...pairs]) if (hasLost) for (const socket of [near, far]) socket.destroy();
      }
    },
    close() {
      server.close();
      for (const { near, far } of [...pairs]) for (const socket of [near, far]) socket.destroy();
    },
  };
}
