// A TCP proxy in front of one memcached that hands on all of what it says, half of it, or what it has said to somebody else.

import { createServer, connect as dial, type Socket } from 'node:net';

/**
 * What becomes of an answer. `half`: the first half of it, then nothing more on that connection; `cut`: the first half, and the end;
 * `anothers`: in its place the answer before it, on whichever connection that was.
 */
export type Bend = 'none' | 'half' | 'cut' | 'anothers';

/** The running proxy. */
export interface BendingProxy {
  /** `host:port`. */
  readonly address: string;
  bend(how: Bend): void;
  close(): void;
}

/** Starts one in front of a port of loopback. */
export async function startBendingProxy(target: number): Promise<BendingProxy> {
  let how: Bend = 'none';
  let before: Buffer = Buffer.alloc(0);
  const open = new Set<Socket>();

  const server = createServer((near) => {
    const far = dial({ port: target, host: '127.0.0.1' });
    let isMute = false;
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      open.add(socket);
      socket.setNoDelay(true);
      // Either end may be killed at any time.
      socket.on('error', end);
      socket.on('close', () => {
        open.delete(socket);
        end();
      });
    }
    near.on('data', (part) => far.write(part));
    far.on('data', (part) => {
      const anothers = before;
      before = part;
      if (isMute) return;
      if (how === 'none') near.write(part);
      else if (how === 'anothers') near.write(anothers);
      else {
        isMute = true;
        near.write(part.subarray(0, part.length >> 1), how === 'cut' ? end : undefined);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return {
    address: `127.0.0.1:${address.port}`,
    bend(next) {
      how = next;
      // Connections that were told to say nothing more do not recover: whoever has one open finds it closed.
      if (next === 'none') for (const socket of open) socket.destroy();
    },
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
