// A connection that is being made, which can be given up.

import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Socket } from 'node:net';

const dialling = new AsyncLocalStorage<Set<Socket>>();
let dials = 0;

/** Node tells of every socket that is opened, to whoever opens it. */
const collect = (message: unknown): void => {
  const socket = typeof message === 'object' && message !== null && 'socket' in message ? message.socket : undefined;
  if (socket instanceof Socket) dialling.getStore()?.add(socket);
};

/**
 * What `connect` gives; `limit` waits for it no longer than it should. Where that rejects, the sockets that `connect` has opened are
 * destroyed. The library would keep one to a server that never answers open for ever, and gives nobody a way to it.
 */
export async function dialled<Connection>(
  connect: () => Promise<Connection>,
  limit: (connecting: Promise<Connection>) => Promise<Connection>,
): Promise<Connection> {
  const sockets = new Set<Socket>();
  if (dials === 0) subscribe('net.client.socket', collect);
  dials += 1;
  try {
    return await limit(dialling.run(sockets, connect));
  } catch (error) {
    for (const socket of sockets) {
      // Nobody listens any more.
      socket.on('error', () => undefined);
      socket.destroy();
    }
    throw error;
  } finally {
    dials -= 1;
    if (dials === 0) {
      unsubscribe('net.client.socket', collect);
      // While it is on, every promise of the process costs more.
      dialling.disable();
    }
  }
}
