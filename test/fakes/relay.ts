// Somebody between two who speak over TCP: connections go through it until they are cut.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** At a port of its own of 127.0.0.1. */
export interface Relay {
  readonly port: number;
  /** Connections that stand. */
  count(): number;
  /** Resets all of them; new ones go through. */
  cut(): void;
  close(): Promise<void>;
}

/** Hands everything to `port` of 127.0.0.1, and what comes from there back. */
export async function startRelay(port: number): Promise<Relay> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port, host: '127.0.0.1', noDelay: true });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.pipe(other);
      // What it failed with is its peer's end, too.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    count: () => sockets.size / 2,
    cut,
    async close() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
