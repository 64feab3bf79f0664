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
  /** From now on new ones are reset. */
  refuse(): void;
  /** Hands nothing on, not even the end of a connection, until `thaw`. */
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
}

/** Hands everything to `port` of 127.0.0.1, and what comes from there back. */
export async function startRelay(port: number): Promise<Relay> {
  const sockets = new Set<Socket>();
  const pairs = new Map<Socket, Socket>();
  /** What has ended meanwhile, and nobody has been told. */
  const orphans = new Set<Socket>();
  let isFrozen = false;
  let isRefusing = false;
  const server = createServer({ noDelay: true }, (near) => {
    if (isRefusing) {
      near.on('error', () => undefined);
      near.resetAndDestroy();
      return;
    }
    const far = connect({ port, host: '127.0.0.1', noDelay: true });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      pairs.set(socket, other);
      if (!isFrozen) socket.pipe(other);
      // What it failed with is its peer's end, too.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        pairs.delete(socket);
        if (isFrozen) orphans.add(other);
        else other.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const thaw = (): void => {
    isFrozen = false;
    for (const orphan of orphans) orphan.destroy();
    orphans.clear();
    for (const [socket, other] of pairs) socket.pipe(other);
  };
  return {
    port: (server.address() as AddressInfo).port,
    count: () => sockets.size / 2,
    cut,
    refuse() {
      isRefusing = true;
    },
    freeze() {
      isFrozen = true;
      for (const socket of pairs.keys()) {
        socket.unpipe();
        socket.pause();
      }
    },
    thaw,
    async close() {
      thaw();
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
