// A line between a sidecar and the server of its fleet's log, which can be cut, in one direction alone too, and hang.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/**
 * `open`: all goes through. `cut`: what stands is reset, and nobody is let in. `mute`: nothing that the sidecar says arrives; `deaf`: nothing
 * that it is told does; `hanging`: neither. What was under way arrives when the line is open again, as TCP has it.
 */
export type LineState = 'open' | 'cut' | 'mute' | 'deaf' | 'hanging';

/** At a port of its own of 127.0.0.1, always the same. */
export interface Line {
  readonly port: number;
  become(state: LineState): void;
  close(): Promise<void>;
}

/** To `port` of 127.0.0.1. */
export async function openLine(port: number): Promise<Line> {
  let state: LineState = 'open';
  const pairs = new Set<{ readonly near: Socket; readonly far: Socket }>();

  /** Who is not read from is not heard: the kernel keeps what comes. */
  const apply = ({ near, far }: { readonly near: Socket; readonly far: Socket }): void => {
    if (state === 'cut') near.resetAndDestroy();
    if (state === 'mute' || state === 'hanging') near.pause();
    else near.resume();
    if (state === 'deaf' || state === 'hanging') far.pause();
    else far.resume();
  };
  const server = createServer({ noDelay: true }, (near) => {
    if (state === 'cut') {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ port, host: '127.0.0.1', noDelay: true });
    const pair = { near, far };
    pairs.add(pair);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      socket.on('data', (part) => void other.write(part));
      // What it failed with is its peer's end, too.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        pairs.delete(pair);
        other.destroy();
      });
    }
    apply(pair);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    become(next) {
      state = next;
      for (const pair of [...pairs]) apply(pair);
    },
    async close() {
      for (const { near } of [...pairs]) near.resetAndDestroy();
      server.close();
      await once(server, 'close');
    },
  };
}
