// Whether a NATS server is there that answers, before a connection is made to it.

import { once } from 'node:events';
import { connect } from 'node:net';

/** What every NATS server says at once begins with it. */
const word = 'INFO';

/**
 * Whether `host` greets as NATS does; not where it says something else, or closes the connection. Rejects where it cannot be reached, with
 * the error of node, and when `signal` aborts.
 *
 * The library that speaks to it later keeps a socket that never answers open, for ever: nobody can close it from outside. So a server
 * that hangs must be noticed on a socket that is ours.
 */
export async function greets({ host, port }: { readonly host: string; readonly port: number }, signal: AbortSignal): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    const data = once(socket, 'data', { signal }).then(([first]: Buffer[]) => first?.toString('latin1', 0, word.length));
    const silence = once(socket, 'close', { signal }).then(() => undefined);
    return (await Promise.race([data, silence])) === word;
  } finally {
    // Whatever it says after that is nobody's concern.
    socket.on('error', () => undefined);
    socket.destroy();
  }
}
